// Package scenario measures a service in situations that clusters get into: warm, cold, with images changing, with
// entries ending, with every apiserver reconnecting, with its cache full.
//
// It decides what is set up, in which order loads follow each other, and which checks a scenario has to pass. Everything
// runs on loopback, in a folder of its own: a registry with signed images, in a process of its own, so that its work is
// not counted as anybody else's; certificates; and the service, a process started from its binary. It trusts the operating
// system's accounts and the registry's counters, and shares no code with the service. It never leaves a process or a file
// behind, is bounded in count and time, and uses no network but loopback.
package scenario
