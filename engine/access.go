package engine

// Login is a user name and password for a registry. It is never printed.
type Login struct{ username, password string }

// NewLogin makes a Login.
func NewLogin(username, password string) Login { return Login{username, password} }

// Username returns the name.
func (l Login) Username() string { return l.username }

// Password returns the password.
func (l Login) Password() string { return l.password }

// String hides what is secret.
func (l Login) String() string { return "(a login)" }

// GoString hides what is secret.
func (l Login) GoString() string { return l.String() }

// Access is whose credentials registries are asked with beside the configuration's own: the pull secrets of a pod.
// It is immutable, and may be shared and used concurrently.
//
// What was found out with one Access is never told to who has another: it is part of the key of every verdict and every
// fact. Namespaces with the same credentials share both.
type Access struct {
	// ID is the hexadecimal SHA-256 of all credentials: equal if, and only if, those are.
	ID string

	// Logins returns the credentials for a repository, those of the most specific entry first; none where there are
	// none. registry is the host as a [Reference] has it.
	Logins func(registry, repository string) []Login
}

// id returns what tells a from others in keys; empty for nil.
func (a *Access) id() string {
	if a == nil {
		return ""
	}
	return a.ID
}
