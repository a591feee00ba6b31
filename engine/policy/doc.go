// Package policy reads ImagePolicy documents and compiles them for the engine.
//
// It decides what a policy may say: every document is checked completely when it is loaded, so that nothing about a
// policy can fail when a pod waits for it, and a policy that could not do what its author meant is refused with the
// place of the mistake. It trusts the people who write policies, and not their typing. It never touches a network:
// a root that is fetched is asked of [Options.FetchedRoot], which has it or not. The only files it reads are the policies
// and the keys, certificates and trusted roots that they name, the only environment variables those that they name. What
// a signature is worth is not its business, so that it knows no more of a trusted root than which entries are in it.
package policy
