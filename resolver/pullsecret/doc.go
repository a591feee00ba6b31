// Package pullsecret reads the pull secrets of a pod from the Kubernetes API: those that it names, or else those of its
// service account.
//
// It decides which secrets count for a pod, by the rules of the API server's ServiceAccount admission and of the kubelet,
// and for how long what was read is good. It trusts the API server that its CA file vouches for. It never trusts names:
// they are the pod author's words, and what is no name of a Kubernetes object never gets into a request. It never writes,
// lists or watches anything, never sends its token to anybody but the API server, never prints what is secret, and never
// fails a pod: without an answer there are no credentials.
package pullsecret
