package clusterimagepolicy

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// authorities translates who may vouch for an image. Any one of them suffices, so that leaving one out asks for more. If
// none can be kept, nothing passes.
func (p *policyTranslator) authorities() []mapping {
	if len(p.Spec.Authorities) == 0 {
		p.remark("spec.authorities", false, "there are none, and policy-controller lets nothing pass by that, or does not accept it; nothing passes here")
	}
	var out []mapping
	taken := map[string]bool{}
	for i := range p.Spec.Authorities {
		if len(out) > maxAuthorities {
			break
		}
		a := &authorityTranslator{policyTranslator: p, authority: &p.Spec.Authorities[i], field: fmt.Sprintf("spec.authorities[%d]", i)}
		wanted := a.authority.Name
		if wanted == "" {
			wanted = fmt.Sprintf("authority-%d", i) // as policy-controller has it; positions change if one is left out
		}
		name := unique(label(wanted, fmt.Sprintf("authority-%d", i)), taken)
		notes, remarks := len(p.out.Notes), len(p.remarks)
		body, left := a.translate()
		if left != "" {
			// What is said of the parts of an authority that is left out says nothing.
			p.out.Notes, p.remarks = p.out.Notes[:notes], p.remarks[:remarks]
			p.stricter(a.field, "the authority %q is left out: %s", printable(wanted), left)
			p.left++
			continue
		}
		if name != wanted {
			p.note(a.field+".name", false, "%q is written as %q", printable(wanted), name)
		}
		out = append(out, append(mapping{{"name", name}}, body...))
	}
	if len(out) > maxAuthorities {
		p.fail("spec.authorities", "there are more than %d authorities, and a policy has no more here", maxAuthorities)
	}
	p.closed = !slices.ContainsFunc(out, func(m mapping) bool {
		return len(m) < 2 || m[1].name != "static" || m[1].value.(mapping)[0].value != "fail"
	})
	if len(out) == 0 {
		if len(p.Spec.Authorities) > 0 {
			p.stricter("spec.authorities", "none of them can be kept, so nothing passes")
		}
		out = []mapping{{{"name", "nobody"}, {"static", mapping{{"action", "fail"}}}}}
	}
	return out
}

// authorityTranslator translates one authority.
type authorityTranslator struct {
	*policyTranslator
	*authority
	field string
}

// translate returns the fields of the authority after its name, or why it cannot be kept.
func (a *authorityTranslator) translate() (body mapping, left string) {
	kinds := 0
	for _, there := range []bool{a.Key != nil, a.Keyless != nil, a.Static != nil} {
		if there {
			kinds++
		}
	}
	switch {
	case kinds > 1:
		a.fail(a.field, "an authority has one of key, keyless and static")
		return nil, ""
	case kinds == 0 && a.RFC3161Timestamp == nil:
		a.fail(a.field, "key, keyless or static is missing")
		return nil, ""
	case a.SignatureFormat != "" && a.SignatureFormat != "legacy" && a.SignatureFormat != "bundle":
		a.fail(a.field+".signatureFormat", "must be legacy or bundle")
		return nil, ""
	case kinds == 0:
		return nil, "it has a timestamp authority and nobody who signs"
	case a.Static != nil:
		return a.static(), ""
	case a.Key != nil:
		body, left = a.key()
	default:
		body, left = a.keyless()
	}
	if left != "" {
		return nil, left
	}
	if a.SignatureFormat != "" {
		a.note(a.field+".signatureFormat", false, "left out; signatures are found in every format")
	}
	body = body.with("signatureRepository", a.source())
	return body.with("attestations", a.attestations()), ""
}

func (a *authorityTranslator) static() mapping {
	if a.Static.Action != "pass" && a.Static.Action != "fail" {
		a.fail(a.field+".static.action", "must be pass or fail")
	}
	for _, more := range []struct {
		field string
		there bool
	}{{"source", len(a.Sources) > 0}, {"ctlog", a.CTLog != nil}, {"attestations", len(a.Attestations) > 0}, {"rfc3161timestamp", a.RFC3161Timestamp != nil}} {
		if more.there {
			a.fail(a.field+"."+more.field, "a static authority looks at no signature, so it has no %s", more.field)
		}
	}
	if a.SignatureFormat != "" {
		a.note(a.field+".signatureFormat", false, "left out; a static authority looks at no signature")
	}
	return mapping{{"static", mapping{{"action", a.Static.Action}}}}
}

// key translates an authority that signs with a key.
func (a *authorityTranslator) key() (body mapping, left string) {
	w, field := a.Key, a.field+".key"
	sources := 0
	for _, there := range []bool{w.Data != "", w.KMS != "", w.SecretRef != nil} {
		if there {
			sources++
		}
	}
	switch {
	case sources != 1:
		a.fail(field, "a key has one of data, secretRef and kms")
		return nil, ""
	case w.KMS != "":
		return nil, "its key is in a key management service, which sluice does not ask; write the public key as key.data (cosign public-key --key " + printable(w.KMS) + ")"
	case w.SecretRef != nil:
		return nil, "its key is in a Secret of the cluster, which sluice does not read; write the public key as key.data"
	}
	text, more, parsed, err := publicKey([]byte(w.Data))
	if err != nil {
		a.fail(field+".data", "not a PEM public key: %v", err)
		return nil, ""
	}
	if what := unsupported(parsed); what != "" {
		return nil, "its key is " + what
	}
	if more {
		a.note(field+".data", false, "only the first key is kept; policy-controller looks at no other")
	}
	if h := w.HashAlgorithm; h != "" && h != "sha256" {
		a.note(field+".hashAlgorithm", false, "left out; signatures must be over the hash that goes with the key")
	}
	body = mapping{{"key", mapping{{"data", text}}}}
	tsa, useTimestamps := a.timestampRoot()
	if useTimestamps {
		a.logIgnored()
		root, left := a.oneRoot(asked{timestamps: &tsa})
		if left != "" {
			return nil, left
		}
		return append(body, entry{"rfc3161timestamp", mapping{{"threshold", 1}, {"trustedRoot", root}}}), ""
	}
	if a.CTLog == nil || a.CTLog.TrustRootRef == "" && a.CTLog.URL == "" { // an empty ctlog turns logs off there
		return body, ""
	}
	a.urls()
	root, left := a.oneRoot(asked{logs: &a.CTLog.TrustRootRef})
	if left != "" {
		return nil, left
	}
	return append(body, entry{"ctlog", mapping{{"required", true}, {"trustedRoot", root}}}), ""
}

// unsupported names the kinds of keys that policy-controller takes and sluice does not.
func unsupported(key any) string {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() {
			return "on the curve " + key.Curve.Params().Name + ", and P-256 and P-384 are accepted"
		}
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits != 2048 && bits != 3072 && bits != 4096 || key.E < 3 || key.E%2 == 0 {
			return "an RSA key of another size than 2048, 3072 and 4096 bits"
		}
	case ed25519.PublicKey:
	default:
		return "neither ECDSA nor RSA nor Ed25519"
	}
	return ""
}

// timestampRoot tells whether signed timestamps are asked for, and from which root's authorities.
func (a *authorityTranslator) timestampRoot() (ref string, used bool) {
	w := a.RFC3161Timestamp
	switch {
	case w == nil:
		return "", false
	case w.TrustRootRef == "" && a.SignatureFormat != "bundle":
		a.note(a.field+".rfc3161timestamp", false, "left out; without a trustRootRef policy-controller does not look at timestamps either")
		return "", false
	}
	return w.TrustRootRef, true
}

// logIgnored notes that a log is configured and not looked at, because timestamps are.
func (a *authorityTranslator) logIgnored() {
	if a.CTLog != nil {
		a.note(a.field+".ctlog", false, "left out; policy-controller does not look at logs where rfc3161timestamp is set either")
	}
}

// urls notes addresses of services. Verification is offline here, by the keys of the root.
func (a *authorityTranslator) urls() {
	if a.CTLog != nil && a.CTLog.URL != "" && !address(a.CTLog.URL, "rekor.sigstore.dev") {
		a.note(a.field+".ctlog.url", false, "left out; the log is not asked, and the proof of the entry must come with the signature%s",
			pick(a.CTLog.TrustRootRef == "", "; without a trustRootRef the log is the public one, there as here", ""))
	}
	if a.Keyless != nil && a.Keyless.URL != "" && !address(a.Keyless.URL, "fulcio.sigstore.dev") {
		a.note(a.field+".keyless.url", false, "left out; verification does not ask there%s",
			pick(a.Keyless.TrustRootRef == "", ", and without a trustRootRef the root is the public one, there as here", ""))
	}
}

func address(text, host string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Host == host
}

const maxRepository = 255 // bytes

var repositoryName = regexp.MustCompile(`^[a-zA-Z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+$`)

// source translates where signatures are looked for.
func (a *authorityTranslator) source() (repository string) {
	named := slices.IndexFunc(a.Sources, func(s source) bool { return s.OCI != "" })
	for i, s := range a.Sources {
		field := fmt.Sprintf("%s.source[%d]", a.field, i)
		if s.OCI != "" {
			if i > named {
				a.note(fmt.Sprintf("%s.source[%d].oci", a.field, named), false, "left out; signatures are looked for in the last of the sources, there as here")
			}
			named = i
			repository = a.repository(field, s.OCI)
		}
		if s.TagPrefix != "" {
			a.stricter(field+".tagPrefix", "cannot be kept: signatures under such tags are not found")
		}
		if len(s.SignaturePullSecrets) > 0 {
			a.note(field+".signaturePullSecrets", false, "left out; credentials for registries are in the configuration of sluice")
		}
	}
	return repository
}

// repository checks the name of a repository and writes it in full.
func (a *authorityTranslator) repository(field, name string) string {
	first, _, qualified := strings.Cut(name, "/")
	full := name
	switch {
	case !qualified:
		full = dockerHub + "/library/" + name
	case !registryLike(first):
		full = dockerHub + "/" + name
	}
	if !repositoryName.MatchString(full) || len(full) > maxRepository {
		a.fail(field+".oci", "%q is not the name of a repository", name)
	}
	return full
}

// predicates are the names that cosign has for predicate types. They mean the same here.
func predicates() map[string]string {
	return map[string]string{
		"custom":           "https://cosign.sigstore.dev/attestation/v1",
		"slsaprovenance":   "https://slsa.dev/provenance/v0.2",
		"slsaprovenance02": "https://slsa.dev/provenance/v0.2",
		"slsaprovenance1":  "https://slsa.dev/provenance/v1",
		"spdx":             "https://spdx.dev/Document",
		"spdxjson":         "https://spdx.dev/Document",
		"cyclonedx":        "https://cyclonedx.org/bom",
		"link":             "https://in-toto.io/Link/v1",
		"vuln":             "https://cosign.sigstore.dev/attestation/vuln/v1",
		"openvex":          "https://openvex.dev/ns",
	}
}

// Bounds of attestations, which whoever loads a policy enforces too.
const (
	maxAttestations  = 16
	maxPredicateType = 512 // bytes
)

// signaturePredicate is the type of the statement that makes a bundle a signature, which is nothing to be asked for here.
const signaturePredicate = "https://sigstore.dev/cosign/sign/v1"

func (a *authorityTranslator) attestations() (out []mapping) {
	taken, asked := map[string]bool{}, map[string]bool{}
	for i, w := range a.Attestations {
		field := fmt.Sprintf("%s.attestations[%d]", a.field, i)
		if w.Name == "" {
			a.fail(field+".name", "the attestation has no name")
		}
		uri, named := predicates()[w.PredicateType]
		if !named {
			uri = w.PredicateType
			u, err := url.Parse(uri)
			if err != nil || !u.IsAbs() || u.Host == "" && u.Opaque == "" || strings.ContainsAny(uri, " *") || len(uri) > maxPredicateType {
				a.fail(field+".predicateType", "%q is neither a predicate type that cosign names nor a URI", uri)
			}
		}
		if w.Policy != nil {
			a.cue(field+".policy", w.Policy, "; an expression can often say the same")
		}
		switch {
		case uri == signaturePredicate:
			a.remark(field, len(a.Attestations) > 1, "left out; a statement of this type is a signature, which is asked for if no attestation is")
			continue
		case asked[uri]:
			a.note(field, false, "left out; without a policy it asks for what another one of this type asks for already")
			continue
		}
		asked[uri] = true
		name := unique(label(w.Name, "attestation"), taken)
		if name != w.Name && w.Name != "" {
			a.note(field+".name", false, "%q is written as %q", printable(w.Name), name)
		}
		out = append(out, mapping{{"name", name}, {"predicateType", w.PredicateType}})
	}
	if len(out) > maxAttestations {
		a.fail(a.field+".attestations", "there are more than %d attestations, and an authority has no more here", maxAttestations)
	}
	return out
}
