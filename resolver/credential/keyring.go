package credential

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"

	"sluice/engine"
)

// Keyring holds logins by what they are for. It is immutable, and safe for concurrent use. The nil Keyring holds none.
type Keyring struct{ entries []entry } // the most specific first, as the kubelet sorts them: by key, descending

// entry is one key, and the logins that are to be tried for what it matches.
type entry struct {
	key     string
	pattern pattern
	matches bool // whether key is a pattern: the kubelet has keys that are not, and match nothing
	logins  []engine.Login
}

// Limits of what a secret can make of a search: so many logins for one image, of so many bytes, and such names of
// entries. Longer names match no image. Longer logins are none: hardly a server takes a header of half the length.
const (
	maxLogins   = 16
	maxLogin    = 16 << 10
	maxLocation = 1024
)

// hubKey is the key that counts for images of Docker Hub when no key matches docker.io: what docker login writes,
// https://index.docker.io/v1/, becomes it. (The kubelet takes it for localhost/…, too, which nobody can mean.)
const hubKey = "index.docker.io"

// newKeyring makes a keyring of logins by location.
func newKeyring(logins map[string]engine.Login) *Keyring {
	byKey := map[string][]engine.Login{}
	locations := make([]string, 0, len(logins))
	for location := range logins {
		locations = append(locations, location)
	}
	slices.Sort(locations) // two may have one key
	for _, location := range locations {
		if key, ok := keyOf(location); ok {
			byKey[key] = append(byKey[key], logins[location])
		}
	}
	return index(byKey)
}

// keyOf returns what the kubelet makes of the name of an entry (BasicDockerKeyring.Add): the host, and the path if
// there is one but for the /v1/ and /v2/ that docker writes.
func keyOf(location string) (string, bool) {
	if len(location) > maxLocation {
		return "", false
	}
	if !strings.HasPrefix(location, "https://") && !strings.HasPrefix(location, "http://") {
		location = "https://" + location
	}
	u, err := url.Parse(location)
	if err != nil {
		return "", false
	}
	path := u.Path
	if strings.HasPrefix(path, "/v2/") || strings.HasPrefix(path, "/v1/") {
		path = path[len("/v1"):]
	}
	if path == "/" {
		path = ""
	}
	return u.Host + path, true
}

// index sorts entries. Of one key's logins, the order stays and repetitions go; where none is left, so does the key.
func index(byKey map[string][]engine.Login) *Keyring {
	k := &Keyring{entries: make([]entry, 0, len(byKey))}
	for key, logins := range byKey {
		if logins = distinct(logins); len(logins) == 0 {
			continue
		}
		pattern, err := parsePattern(key)
		k.entries = append(k.entries, entry{key, pattern, err == nil, logins})
	}
	slices.SortFunc(k.entries, func(a, b entry) int { return cmp.Compare(b.key, a.key) })
	return k
}

// distinct returns the first logins that can be used, each once. One with neither name nor password is none: registries
// are asked without credentials anyway.
func distinct(logins []engine.Login) []engine.Login {
	var found []engine.Login
	for _, login := range logins {
		if len(found) == maxLogins {
			break
		}
		long := len(login.Username())+len(login.Password()) > maxLogin
		if login != (engine.Login{}) && !long && !slices.Contains(found, login) {
			found = append(found, login)
		}
	}
	return found
}

// Merge makes one keyring of several. Where they have logins for the same key, those of the earlier one come first.
func Merge(keyrings ...*Keyring) *Keyring {
	if len(keyrings) == 1 {
		return keyrings[0]
	}
	byKey := map[string][]engine.Login{}
	for _, k := range keyrings {
		if k == nil {
			continue
		}
		for i := range k.entries {
			e := &k.entries[i]
			byKey[e.key] = append(byKey[e.key], e.logins...)
		}
	}
	return index(byKey)
}

// Logins returns those for a repository, 16 at most, in the order in which the kubelet tries them: longer keys before shorter ones
// with the same beginning, and names before globs. registry and repository are as an [engine.Reference] has them.
func (k *Keyring) Logins(registry, repository string) []engine.Login {
	if k == nil || len(k.entries) == 0 {
		return nil
	}
	t := parseTarget(registry, repository)
	var found []engine.Login
	for i := 0; i < len(k.entries) && len(found) < maxLogins; i++ {
		if e := &k.entries[i]; e.matches && e.pattern.match(&t) {
			found = distinct(append(found, e.logins...))
		}
	}
	if len(found) == 0 && t.hub {
		i, ok := slices.BinarySearchFunc(k.entries, hubKey, func(e entry, key string) int { return cmp.Compare(key, e.key) })
		if ok {
			found = slices.Clone(k.entries[i].logins)
		}
	}
	return found
}

// Len returns the number of logins.
func (k *Keyring) Len() int {
	n := 0
	if k != nil {
		for i := range k.entries {
			n += len(k.entries[i].logins)
		}
	}
	return n
}

// String hides what is secret. (Of what unexported fields hold, the fmt package asks nobody how to print it.)
func (k Keyring) String() string { return "(a keyring)" }

// GoString hides what is secret.
func (k Keyring) GoString() string { return k.String() }

// Size is about how many bytes the keyring takes.
func (k *Keyring) Size() int {
	const perEntry, perLogin, perLabel = 128, 32, 16
	n := perEntry
	if k == nil {
		return n
	}
	for i := range k.entries {
		e := &k.entries[i]
		n += perEntry + 2*len(e.key) + perLabel*len(e.pattern.labels)
		for _, login := range e.logins {
			n += perLogin + len(login.Username()) + len(login.Password())
		}
	}
	return n
}

// ID is the hexadecimal SHA-256 of what the keyring holds: the same for equal content, in whatever order and form it was
// written.
func (k *Keyring) ID() string {
	h := sha256.New()
	write := func(s string) {
		_ = binary.Write(h, binary.BigEndian, uint64(len(s))) // a hash takes everything
		h.Write([]byte(s))
	}
	if k != nil {
		for i := range k.entries {
			e := &k.entries[i]
			write(e.key)
			_ = binary.Write(h, binary.BigEndian, uint64(len(e.logins)))
			for _, login := range e.logins {
				write(login.Username())
				write(login.Password())
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}
