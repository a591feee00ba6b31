// Package e2e shows the main job on the real thing: the ImagePolicyWebhook plugin of Kubernetes, configured by what
// "sluice init" writes, asks a "sluice serve" that runs as a process of its own, about images in Debian's
// docker-registry that the cosign command line signed.
//
// It is a module of its own, so that Kubernetes does not become a dependency of sluice. It trusts nothing of sluice's
// packages: what it knows of the service is the binary, its files, its two ports and its process. Everything it starts
// listens on loopback and ends with it. deploy/e2e/run fetches and builds what it needs, and runs it.
package e2e
