// Package engine decides whether images may run, and, where it is asked that, which digests are to be written behind their
// tags first. Given a snapshot of compiled policies, a review's images and two ports (resolve a tag, verify a digest), it
// answers with one verdict, and remembers it.
//
// It trusts the snapshot and the ports. It trusts nothing in a request: image strings are the words of whoever may
// create a pod. It never touches a network, a file, a logger or a telemetry SDK; what it counts, it counts in plain
// atomics that others read.
package engine
