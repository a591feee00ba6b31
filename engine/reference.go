package engine

import (
	"errors"
	"strings"
)

// Digest names content by its SHA-256: "sha256:" and 64 lower-case hexadecimal digits. Other algorithms are refused,
// because nothing in this trade verifies them.
type Digest string

// Hex returns the 64 hexadecimal digits.
func (d Digest) Hex() string { return strings.TrimPrefix(string(d), "sha256:") }

// ParseDigest checks the form of a digest.
func ParseDigest(s string) (Digest, error) {
	hex, ok := strings.CutPrefix(s, "sha256:")
	if !ok || len(hex) != 64 {
		return "", errors.New("a digest is sha256: and 64 hexadecimal digits")
	}
	for i := 0; i < len(hex); i++ {
		if c := hex[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", errors.New("a digest is sha256: and 64 lower-case hexadecimal digits")
		}
	}
	return Digest(s), nil
}

// Reference is an image reference, normalised as container runtimes do (distribution/reference): a bare name is
// Docker Hub's, and an absent tag is latest unless a digest is given.
type Reference struct {
	Registry   string // host, with port where the reference has one; Docker Hub is index.docker.io
	Repository string // path within the registry, such as library/nginx
	Tag        string // empty only if there is a digest and no tag
	Digest     Digest // empty if the reference has none
}

// DockerHub is the canonical name of the registry that bare names belong to.
const DockerHub = "index.docker.io"

// Name returns registry and repository: what globs are matched against.
func (r Reference) Name() string { return r.Registry + "/" + r.Repository }

// String returns the normalised reference in full.
func (r Reference) String() string {
	s := r.Name()
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + string(r.Digest)
	}
	return s
}
