// Package trustroot reads sigstore's trusted roots: which certificate authorities, logs and timestamp authorities are
// believed, and until when.
//
// It checks a root when it is loaded, so that a bad one is an error of the configuration and not of every review. It
// contacts nothing, but for [Updater], which the configuration has to ask for.
package trustroot
