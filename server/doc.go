// Package server is the front of the service: bytes to verdicts and back. It owns the TLS port, the doors behind it,
// the limits on what a caller may send, the drain at the end, and the log of what was denied.
//
// HTTP/1.1 (fasthttp) and HTTP/2 (the package h2) share one port and are thin adapters over one function from
// request bytes to reply bytes. What that function decides by itself is only whether a request is usable; whether
// images may run is the [Decider]'s.
//
// At its doors it is asked with one of two documents. An ImageReview comes from the ImagePolicyWebhook plugin. An
// AdmissionReview comes from a webhook: validate is asked whether an object's images may run, those of an update that were
// there before marked as such, and mutate what is to be written in their place. mutate never judges, touches nothing on an
// update but what the update changes, and nothing that it has written itself.
//
// It trusts its configuration and the files that names. It trusts a caller that proved a client certificate or a
// token to ask, not to be well-behaved: every size, count and wait is bounded. It trusts nothing in a body: that is
// the pod author's. Where [Admission].Anonymous opens the doors for AdmissionReview, it trusts nothing in whole requests
// there: anyone may ask, in any namespace's name. It never answers a review it could not use with a 4xx, because the
// plugin's defaultAllow, or the webhook's failurePolicy, would let the pod in, and it never sends Retry-After, because the
// plugin would repeat the call up to 55 times.
package server
