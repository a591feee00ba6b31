// Package registrytest is a container registry in memory, on loopback, that can be told to misbehave, and a signer
// that needs no network. It serves tests, load generation and the demonstration, and nothing else.
//
// Content is put into it directly, past its authentication, faults and counters, so that what it counts is only what
// its clients asked for. It trusts whoever calls it and keeps everything until it is closed: never expose it.
package registrytest
