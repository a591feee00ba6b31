package policy

import "time"

// The types of this file are the document as it is written, without behaviour. Their comments are the descriptions
// of the JSON schema (go generate). A field without omitempty is required. What a document means is [Compile]'s.

// APIVersion and Kind are what every document says of itself.
const (
	APIVersion = "sluice/v1"
	Kind       = "ImagePolicy"
)

// ImagePolicy says which images may run. Every policy that matches an image must pass.
type ImagePolicy struct {
	// The version of this format.
	APIVersion string `yaml:"apiVersion"`
	// The kind of the document.
	Kind     string   `yaml:"kind"`
	Metadata Metadata `yaml:"metadata"`
	Spec     Spec     `yaml:"spec"`
}

// Metadata names the policy.
type Metadata struct {
	// The name of the policy in verdicts, logs and audit annotations: at most 63 lower-case letters, digits and
	// dashes, with a letter or digit at both ends. No two policies have the same.
	Name string `yaml:"name"`
}

// Spec is what the policy is about and what it asks for. It asks for something of the tags, or of the signatures, or
// of both.
type Spec struct {
	// The namespaces that the policy is for, as patterns in which * is any run of characters. One that begins with !
	// excludes (quote it: YAML reads ! itself). Absent means every namespace.
	Namespaces []string `yaml:"namespaces,omitempty"`
	// The images that the policy is for: those that match at least one of these.
	Images []Image `yaml:"images"`
	Tags   *Tags   `yaml:"tags,omitempty"`
	// Who may vouch for an image. Any one of them suffices. Absent means that the tags alone decide.
	Authorities []Authority `yaml:"authorities,omitempty"`
	// What happens to an image that does not pass: enforce denies it, warn allows it and says so in the audit
	// annotations.
	Mode string `yaml:"mode,omitempty"`
	// What happens to an image whose facts cannot be had, because the registry does not answer, say. deny denies it
	// and says what failed; retry makes the apiserver ask again; defer leaves it to the apiserver's own defaultAllow;
	// allow allows it and says so in the audit annotations. Content that breaks the rules or the bounds is denied
	// whatever stands here, since whoever may push can make such content.
	OnError string `yaml:"onError,omitempty"`
	Cache   *Cache `yaml:"cache,omitempty"`
	// What the author of a denied pod should do, in one line that is part of every denial.
	Message string `yaml:"message,omitempty"`
}

// Image selects images by name.
type Image struct {
	// A pattern for the image's full name without tag and digest, such as registry.example.com/team/**. * is any run
	// of characters but /, and ** any run at all. Docker Hub is index.docker.io; a plain name such as nginx means
	// index.docker.io/library/nginx. "**" is every image. Quote a pattern that begins with *: YAML reads * itself.
	Glob string `yaml:"glob"`
}

// Tags is what the policy asks of the tag. An image that is named by digest has what it asks for.
type Tags struct {
	// Patterns of tags that are denied. An image without tag and digest has the tag latest.
	Deny []string `yaml:"deny,omitempty"`
	// Whether the image must be named by digest.
	RequireDigest bool `yaml:"requireDigest,omitempty"`
}

// Authority is one party whose word suffices: the holder of a key, or nobody (static).
type Authority struct {
	// The name in verdicts and logs, of the same form as the policy's. Absent, it is authority-0 for the first,
	// authority-1 for the second and so on.
	Name   string  `yaml:"name,omitempty"`
	Key    *Key    `yaml:"key,omitempty"`
	Static *Static `yaml:"static,omitempty"`
	// What the signature must say of itself besides (cosign sign -a key=value). One signature must have all of them.
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

// Key is a public key: PEM, of type PUBLIC KEY, ECDSA P-256 or P-384, RSA of 2048, 3072 or 4096 bits, or Ed25519.
type Key struct {
	// The file that holds the key. A relative path starts at the directory of the policy's file.
	File string `yaml:"file,omitempty"`
	// The key itself in PEM, or env://NAME for the environment variable that holds it.
	Data string `yaml:"data,omitempty"`
}

// Static is a verdict without a look at the image.
type Static struct {
	// pass lets every image pass; fail lets none pass that no other authority vouches for.
	Action string `yaml:"action"`
}

// Cache says for how long a verdict is remembered, as durations such as 90s, 5m or 1h30m.
type Cache struct {
	// For how long an allowed image is, from 1s to 24h.
	AllowTTL time.Duration `yaml:"allowTTL,omitempty"`
	// For how long a denied image is, from 1s to 1h.
	DenyTTL time.Duration `yaml:"denyTTL,omitempty"`
}
