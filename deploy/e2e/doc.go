// Package e2e shows the main job on the real thing: the ImagePolicyWebhook plugin of Kubernetes, configured by what
// "sluice init" writes, asks a "sluice serve" that runs as a process of its own, about images in Debian's
// docker-registry, and in one that lists referrers, that the cosign command lines signed: with keys, with certificates of
// one's own, and without keys, by way of Fulcio, Rekor and a timestamp authority that run here. MATRIX.md lists what of
// all this is accepted, and what is not.
//
// Most tests call the plugin in this process. Those of a control plane (TestCluster…) have a kube-apiserver with an etcd
// behind it, and speak to it with kubectl; testdata/cluster has what that shows, word for word. TestAdmission… do the same
// with the webhooks that "sluice init" writes, in place of the plugin or beside it (testdata/admission). In TestControllers…
// there is a kube-controller-manager as well, and pods are what it makes of Deployments, Jobs and their like. TestInstall… take every
// way in: what README.md says about clusters, kubeadm, the static pod, the chart, kustomize, and the image.
//
// It is a module of its own, so that Kubernetes does not become a dependency of sluice. It trusts nothing of sluice's
// packages: what it knows of the service is the binary, its files, its two ports and its process. Everything it starts
// ends with it, and listens on loopback, but for the metrics of some services that can't; deploy/e2e/run fetches and
// builds what it needs, and runs it in a network of its own, where there is nothing but loopback.
package e2e
