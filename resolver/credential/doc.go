// Package credential finds the logins for an image the way a node's kubelet does: from docker configuration files, as
// pull secrets hold them, and from the credential provider plugins of a kubelet's CredentialProviderConfig.
//
// It decides which entry is for which image, by the kubelet's own rules (pkg/credentialprovider of Kubernetes v1.36),
// the most specific entry first; and when a plugin is run, and for how long its answer is good. It trusts the operator's
// configuration file and the programs in the operator's directory. It never runs anything that an image, a secret or an
// answer names, never runs credential helpers of docker, never contacts a network by itself, and never prints what is
// secret.
package credential
