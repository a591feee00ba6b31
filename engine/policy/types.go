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
// that there is a digest, or for several of these.
type Spec struct {
	// The namespaces that the policy is for, as patterns in which * is any run of characters. One that begins with !
	// excludes (quote it: YAML reads ! itself). Absent means every namespace.
	Namespaces []string `yaml:"namespaces,omitempty"`
	// The images that the policy is for: those that match at least one of these.
	Images []Image `yaml:"images"`
	Tags   *Tags   `yaml:"tags,omitempty"`
	// Whether an image must have a digest to pass: its own, or the one that its tag points at now. The mutating webhook
	// then writes that digest behind the tag, so that what was judged is what runs. A tag that tags.deny denies is not
	// given one.
	Pin bool `yaml:"pin,omitempty"`
	// Whether the mutating webhook sets imagePullPolicy: Always, so that a node which holds the image already does not
	// start it for a pod whose credentials can't pull it.
	AlwaysPullImages bool `yaml:"alwaysPullImages,omitempty"`
	// Who may vouch for an image. Any one of them suffices, unless threshold says how many. Absent means that tags
	// and pin alone decide.
	Authorities []Authority `yaml:"authorities,omitempty"`
	// How many of the authorities must vouch for an image, each for itself. Absent means 1.
	Threshold int `yaml:"threshold,omitempty"`
	// What the authorities must have signed where an image is an index, as one for several platforms is. index, the
	// default, is the index itself; index-or-every-platform lets one pass whose every platform's manifest is signed; a
	// list such as [linux/amd64, linux/arm64/v8] asks for the manifests of these platforms, as far as the index has
	// them.
	Platforms []string `yaml:"platforms,omitempty,many"`
	// What happens to an image that does not pass: enforce denies it, warn allows it and says so in the audit
	// annotations.
	Mode string `yaml:"mode,omitempty"`
	// What happens to an image whose facts cannot be had, because the registry does not answer, say. deny denies it
	// and says what failed; retry makes the apiserver ask again; defer leaves it to the apiserver's own defaultAllow;
	// allow allows it and says so in the audit annotations. Where the apiserver asks by an admission webhook, retry and
	// defer leave it to that webhook's failurePolicy. Content that breaks the rules or the bounds is denied whatever
	// stands here, since whoever may push can make such content; and so are images beyond the first 16 of a review for which
	// the others leave no time, since whoever writes a pod can name that many.
	OnError string `yaml:"onError,omitempty"`
	// What happens on an update to an image that the object had before, in the same container or volume, where the
	// validating webhook sees that: check judges it like any other; allow lets it stay without a look, as far as this policy
	// goes.
	UnchangedImages string `yaml:"unchangedImages,omitempty"`
	Cache           *Cache `yaml:"cache,omitempty"`
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

// Authority is one party whose word suffices: the holder of a key, whoever is known to a certificate authority by a
// name (keyless, certificate), or nobody (static).
type Authority struct {
	// The name in verdicts and logs, of the same form as the policy's. Absent, it is authority-0 for the first,
	// authority-1 for the second and so on.
	Name string `yaml:"name,omitempty"`
	Key  *Key   `yaml:"key,omitempty"`
	// Several keys, any of which suffices.
	Keys        []Key        `yaml:"keys,omitempty"`
	Keyless     *Keyless     `yaml:"keyless,omitempty"`
	Certificate *Certificate `yaml:"certificate,omitempty"`
	Static      *Static      `yaml:"static,omitempty"`
	// What the signature must say of itself besides (cosign sign -a key=value). One signature must have all of them.
	Annotations map[string]string `yaml:"annotations,omitempty"`
	// Whether the signature must name the image's own repository, so that one that was copied with its image from
	// another repository does not pass. Signatures in sigstore bundles name none.
	RequireReferenceMatch bool `yaml:"requireReferenceMatch,omitempty"`
	// How old a signature may be, as a duration such as 720h. It takes somebody to vouch for the time of signing: a log or
	// a timestamp authority.
	MaxAge time.Duration `yaml:"maxAge,omitempty"`
	// The repository in which signatures and attestations are looked for in place of the image's own (COSIGN_REPOSITORY),
	// such as registry.example.com/signatures.
	SignatureRepository string     `yaml:"signatureRepository,omitempty"`
	CTLog               *CTLog     `yaml:"ctlog,omitempty"`
	RFC3161Timestamp    *Timestamp `yaml:"rfc3161timestamp,omitempty"`
	// Statements about the image that must all be there, signed by this authority. A signature of the image itself is then
	// not asked for.
	Attestations []Attestation `yaml:"attestations,omitempty"`
}

// Key is a public key: PEM, of type PUBLIC KEY, ECDSA P-256 or P-384, RSA of 2048, 3072 or 4096 bits, or Ed25519. There may
// be several PEM blocks, and any of the keys suffices. Text in place of the mapping is the name of a file.
type Key struct {
	// The file that holds the key. A relative path starts at the directory of the policy's file.
	File string `yaml:"file,omitempty,short"`
	// The key itself in PEM, or env://NAME for the environment variable that holds it.
	Data string `yaml:"data,omitempty"`
}

// Keyless is whoever has got a short-lived certificate from a certificate authority such as Fulcio, by a name that an
// identity provider vouched for.
type Keyless struct {
	// Who may have signed: any of these.
	Identities []Identity `yaml:"identities"`
	// The certificate authorities, logs and timestamp authorities that are believed. There may be several such roots, and
	// a signature must be good by one of them alone.
	TrustedRoot []TrustedRoot `yaml:"trustedRoot,many"`
	// Whether certificates are believed that no certificate transparency log has vouched for. Absent means that one must
	// have (RFC 6962).
	InsecureIgnoreSCT bool `yaml:"insecureIgnoreSCT,omitempty"`
}

// Identity says who may have signed. Each rule is either exact or a regular expression (RE2) that begins with ^ and ends
// with $.
type Identity struct {
	// The identity provider that vouched for the name, such as https://token.actions.githubusercontent.com.
	Issuer string `yaml:"issuer,omitempty"`
	// The same as a regular expression.
	IssuerRegExp string `yaml:"issuerRegExp,omitempty"`
	// The name: the certificate's subject alternative name, an email address or a URI.
	Subject string `yaml:"subject,omitempty"`
	// The same as a regular expression.
	SubjectRegExp string `yaml:"subjectRegExp,omitempty"`
}

// Certificate is whoever has a certificate of an authority of one's own.
type Certificate struct {
	// PEM certificates: roots, with intermediates beside them, or one pinned leaf. Text in place of the mapping is the name
	// of a file.
	Roots Source `yaml:"roots"`
	// Who may have signed: any of these. An issuer need not be given.
	Identities []Identity `yaml:"identities"`
}

// Source is a text that is kept in a file, or stands here. Text in place of the mapping is the name of a file.
type Source struct {
	// The file. A relative path starts at the directory of the policy's file.
	File string `yaml:"file,omitempty,short"`
	// The content itself, or env://NAME for the environment variable that holds it.
	Data string `yaml:"data,omitempty"`
}

// CTLog is what is asked of a transparency log such as Rekor. Present, it means that a signature must have been entered in
// one, unless it says required: false.
type CTLog struct {
	// Whether a signature must have been entered. Only a keyless authority with an rfc3161timestamp can do without.
	Required *bool `yaml:"required,omitempty"`
	// In how many different logs it must have been entered. Absent means 1.
	Threshold int `yaml:"threshold,omitempty"`
	// The logs that are believed: transparency logs of these roots. Absent, they are those of the keyless authority's own
	// trustedRoot, or of rfc3161timestamp's.
	TrustedRoot []TrustedRoot `yaml:"trustedRoot,omitempty,many"`
}

// Timestamp is what is asked of timestamp authorities (RFC 3161). Present, it means that a signature must carry a signed
// timestamp.
type Timestamp struct {
	// By how many different authorities it must be. Absent means 1.
	Threshold int `yaml:"threshold,omitempty"`
	// The authorities that are believed: timestamp authorities of these roots. Absent, they are those of the keyless
	// authority's own trustedRoot, or of ctlog's.
	TrustedRoot []TrustedRoot `yaml:"trustedRoot,omitempty,many"`
}

// TrustedRoot is a sigstore trusted root: a trusted_root.json from a file, inline or by TUF, or the pieces of one. Text in
// place of the mapping is the name of a file.
type TrustedRoot struct {
	// The trusted_root.json. A relative path starts at the directory of the policy's file.
	File string `yaml:"file,omitempty,short"`
	// The JSON itself, or env://NAME for the environment variable that holds it.
	Data string `yaml:"data,omitempty"`
	TUF  *TUF   `yaml:"tuf,omitempty"`
	// Pieces: who issues certificates.
	CertificateAuthorities []CertificateAuthority `yaml:"certificateAuthorities,omitempty"`
	// Pieces: the certificate transparency logs (RFC 6962).
	CTLogs []Log `yaml:"ctLogs,omitempty"`
	// Pieces: the transparency logs of signatures, such as Rekor.
	TLogs []Log `yaml:"tLogs,omitempty"`
	// Pieces: the timestamp authorities (RFC 3161).
	TimestampAuthorities []CertificateAuthority `yaml:"timestampAuthorities,omitempty"`
}

// TUF is where a trusted_root.json is fetched from in the background (The Update Framework). Until it has been, images that
// need it can't be decided.
type TUF struct {
	// The address of the repository, https://…; absent means that of sigstore's public-good instance.
	Mirror string `yaml:"mirror,omitempty"`
	// The repository's root.json, by which the first answer is judged. Only the public-good instance needs none.
	Root *Source `yaml:"root,omitempty"`
}

// CertificateAuthority is one certificate authority, or timestamp authority, by its certificates.
type CertificateAuthority struct {
	// PEM certificates, in any order, each but the root issued by another of them. Text in place of the mapping is the name
	// of a file.
	Chain Source `yaml:"chain"`
	// Its address, for people.
	URI string `yaml:"uri,omitempty"`
}

// Log is one transparency log.
type Log struct {
	// The log's PEM PUBLIC KEY. Text in place of the mapping is the name of a file.
	Key Source `yaml:"key"`
	// The log's address. Its host is the name by which a log of Rekor v2 signs (its origin).
	BaseURL string `yaml:"baseURL,omitempty"`
}

// Attestation is one in-toto statement about the image that must be there.
type Attestation struct {
	// The name in verdicts. Absent, it is the predicate type as it is written here.
	Name string `yaml:"name,omitempty"`
	// The type of the predicate: a URI, or one of the names slsaprovenance, slsaprovenance02, slsaprovenance1, spdx,
	// spdxjson, cyclonedx, link, vuln, openvex and custom, which mean what they mean to cosign.
	PredicateType string `yaml:"predicateType"`
	// What the predicate must fulfil: a condition in CEL over predicate and predicateType. Absent means that the
	// statement's being there suffices.
	Expression string `yaml:"expression,omitempty"`
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
