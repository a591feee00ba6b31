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
	if hex, ok := strings.CutPrefix(s, "sha256:"); !ok || !isHex64(hex) {
		return "", errors.New("a digest is sha256: and 64 lower-case hexadecimal digits")
	}
	return Digest(s), nil
}

func isHex64(s string) bool {
	return len(s) == 64 && matchesOnly(s, func(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' })
}

// Reference is an image reference, normalised as container runtimes do (distribution/reference): a bare name is
// Docker Hub's, and an absent tag is latest unless a digest is given.
type Reference struct {
	Registry   string // host, with port where the reference has one; Docker Hub is index.docker.io
	Repository string // path within the registry, such as library/nginx
	Tag        string // empty only if there is a digest and no tag
	Digest     Digest // empty if the reference has none
	Untagged   bool   // neither tag nor digest was written, and Tag is latest for that reason

	// Access is whose credentials the registry is to be asked with, beside the configuration's own; it is no part of the name.
	Access *Access
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

// Limits of an image reference. Those of repository and tag are distribution/reference's; the registry's is DNS's.
const (
	maxRegistry   = 255 + len(":65535")
	maxRepository = 255
	maxTag        = 128
	maxReference  = maxRegistry + len("/") + maxRepository + len(":") + maxTag + len("@sha256:") + 64
)

var (
	errReferenceEmpty    = errors.New("it is empty")
	errReferenceLong     = errors.New("it is too long")
	errReferenceRegistry = errors.New("its registry is no host name of lower-case letters, digits, dots and dashes")
	errReferenceName     = errors.New("its name must be lower-case letters and digits, separated by single . _ - or /")
	errReferenceTag      = errors.New("its tag must be at most 128 letters, digits, dots, dashes and underscores")
	errReferenceDigest   = errors.New("its digest must be sha256: and 64 lower-case hexadecimal digits")
	errReferenceHex      = errors.New("64 hexadecimal digits are an image ID, not a name")
)

// ParseReference reads an image string as container runtimes do (the grammar of distribution/reference v0.6), except
// that it refuses what no runtime can pull or what two parsers read differently: registry names that are upper-case or no
// host names, and digests of other algorithms than SHA-256. The errors complete the sentence "the image is no reference: …" and never hold the
// image, which is hostile input.
func ParseReference(s string) (Reference, error) {
	var r Reference
	switch {
	case s == "":
		return r, errReferenceEmpty
	case len(s) > maxReference:
		return r, errReferenceLong
	case isHex64(s):
		return r, errReferenceHex
	}
	s, digest, hasDigest := strings.Cut(s, "@")
	if hasDigest {
		d, err := ParseDigest(digest)
		if err != nil {
			return r, errReferenceDigest
		}
		r.Digest = d
	}
	registry, path, ok := strings.Cut(s, "/")
	switch {
	case !ok:
		registry, path = DockerHub, "library/"+s
	case registry == "localhost":
	case strings.ContainsAny(registry, ".:") || strings.ToLower(registry) != registry:
		if registry == "docker.io" || registry == DockerHub {
			registry = DockerHub
			if !strings.Contains(path, "/") {
				path = "library/" + path
			}
		}
	default:
		registry, path = DockerHub, s
	}
	path, tag, hasTag := strings.Cut(path, ":")
	switch {
	case hasTag && !isTag(tag):
		return r, errReferenceTag
	case !hasTag && !hasDigest:
		tag, r.Untagged = "latest", true
	}
	if !isRegistry(registry) {
		return r, errReferenceRegistry
	}
	if !isRepository(path) {
		return r, errReferenceName
	}
	r.Registry, r.Repository, r.Tag = registry, path, tag
	return r, nil
}

func isTag(s string) bool {
	return s != "" && len(s) <= maxTag && s[0] != '.' && s[0] != '-' && matchesOnly(s, func(c byte) bool {
		return isAlphanumeric(c) || 'A' <= c && c <= 'Z' || c == '_' || c == '.' || c == '-'
	})
}

// isRegistry checks host[:port], where the host is a name, an IPv4 address or an IPv6 address in brackets.
func isRegistry(s string) bool {
	if len(s) > maxRegistry {
		return false
	}
	if host, ok := strings.CutPrefix(s, "["); ok {
		host, port, ok := strings.Cut(host, "]")
		if !ok || host == "" || !matchesOnly(host, func(c byte) bool {
			return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || c == ':'
		}) {
			return false
		}
		port, hasPort := strings.CutPrefix(port, ":")
		return hasPort && isPort(port) || !hasPort && port == ""
	}
	host, port, hasPort := strings.Cut(s, ":")
	if hasPort && !isPort(port) {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' ||
			!matchesOnly(label, func(c byte) bool { return isAlphanumeric(c) || c == '-' }) {
			return false
		}
	}
	return true
}

// isRepository checks path components of letters and digits, separated by one dot, one or two underscores, or dashes.
func isRepository(s string) bool {
	if len(s) > maxRepository {
		return false
	}
	for part := range strings.SplitSeq(s, "/") {
		for first := true; first || part != ""; first = false {
			if !first {
				n := separator(part)
				if n == 0 {
					return false
				}
				part = part[n:]
			}
			n := 0
			for n < len(part) && isAlphanumeric(part[n]) {
				n++
			}
			if n == 0 {
				return false
			}
			part = part[n:]
		}
	}
	return true
}

// separator returns the length of the separator that s begins with, or 0.
func separator(s string) int {
	switch {
	case strings.HasPrefix(s, "__"):
		return 2
	case s[0] == '.' || s[0] == '_':
		return 1
	}
	n := 0
	for n < len(s) && s[n] == '-' {
		n++
	}
	return n
}

func isAlphanumeric(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
