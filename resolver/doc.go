// Package resolver asks registries for facts: which digest a tag points at, and the bytes of a manifest or a blob.
//
// It decides who may be asked (the registries that the configuration lists, nobody else), with which credentials, how
// often and for how long. It trusts the configuration and the TLS authorities that it names. It trusts nothing that a
// registry sends: every body is read through a limit and hashed, a digest is what was computed and never what was
// said, and where a registry points elsewhere (a redirect, a token service) the configuration must allow it.
//
// Where containerd's hosts.toml files are given, they are part of the configuration: the servers that they name are
// asked on a listed registry's behalf, over http and without a check of certificates if they say so, and believed about
// tags if they say that too. No login and no pull secret ever goes there.
//
// It never follows an image's name to a host that isn't listed, never sends credentials to a host that they weren't
// configured for, never falls back from https to http (but for a mirror that is written as http), never runs a
// credential helper, never reads the environment (proxies included), and never stores a failure.
package resolver
