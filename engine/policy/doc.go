// Package policy reads ImagePolicy documents and compiles them for the engine.
//
// It decides what a policy may say: every document is checked completely when it is loaded, so that nothing about a
// policy can fail when a pod waits for it, and a policy that could not do what its author meant is refused with the
// place of the mistake. It trusts the people who write policies, and not their typing. It never touches a network;
// the only files it reads are the policies and the public keys that they name, the only environment variables those
// that they name.
package policy
