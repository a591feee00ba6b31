package clusterimagepolicy

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// trustRoot is what a TrustRoot document stands for.
type trustRoot struct {
	*resource
	used bool

	keys     *keys   // pieces
	whole    mapping // in place of pieces: a TUF repository, or a trusted_root.json
	parts    *parts  // of the trusted_root.json
	unusable string  // why it cannot be used at all; empty if it can
}

// keys are the pieces of a root, each ready to be written.
type keys struct {
	authorities, tlogs, ctlogs, timestamps []mapping

	chains [][]string // of the authorities, each certificate in PEM
}

// parts is what a trusted_root.json has, whose names can be written in two ways (ProtoJSON).
type parts struct {
	CertificateAuthorities  []json.RawMessage `json:"certificateAuthorities"`
	CertificateAuthorities2 []json.RawMessage `json:"certificate_authorities"`
	CTLogs                  []json.RawMessage `json:"ctlogs"`
	TLogs                   []json.RawMessage `json:"tlogs"`
	TimestampAuthorities    []json.RawMessage `json:"timestampAuthorities"`
	TimestampAuthorities2   []json.RawMessage `json:"timestamp_authorities"`
}

// lacks names what is asked of a root and not in it, or returns "".
func (r *trustRoot) lacks(want asked) string {
	var authorities, ctlogs, tlogs, timestamps int
	switch {
	case r.keys != nil:
		authorities, ctlogs, tlogs, timestamps = len(r.keys.authorities), len(r.keys.ctlogs), len(r.keys.tlogs), len(r.keys.timestamps)
	case r.parts != nil:
		authorities = len(r.parts.CertificateAuthorities) + len(r.parts.CertificateAuthorities2)
		ctlogs, tlogs = len(r.parts.CTLogs), len(r.parts.TLogs)
		timestamps = len(r.parts.TimestampAuthorities) + len(r.parts.TimestampAuthorities2)
	default:
		return "" // it is still to be fetched
	}
	is := func(name *string) bool { return name != nil && *name == r.Metadata.Name }
	switch {
	case is(want.certificates) && authorities == 0:
		return "certificateAuthorities"
	case is(want.certificates) && ctlogs == 0 && !want.ignoreSCT:
		return "ctLogs, so that no certificate has the SCT that is asked for"
	case is(want.logs) && tlogs == 0:
		return "tLogs"
	case is(want.timestamps) && timestamps == 0:
		return "timestampAuthorities"
	}
	return ""
}

// publicGood is what absent roots mean: the public instance of sigstore, as its TUF repository says.
func publicGood() mapping { return mapping{{"tuf", mapping{}}} }

// trustRoot reads a TrustRoot document.
func (t *translator) trustRoot(r *resource) {
	root := &trustRoot{resource: r}
	t.roots[r.Metadata.Name] = root
	s := &r.Spec
	kinds := 0
	for _, there := range []bool{s.Remote != nil, s.Repository != nil, s.SigstoreKeys != nil, s.TrustedRootJSON != ""} {
		if there {
			kinds++
		}
	}
	if kinds != 1 {
		t.fail(r, "spec", "a TrustRoot has one of remote, repository, sigstoreKeys and trustedRootJSON")
		return
	}
	switch {
	case s.Remote != nil:
		t.remote(root)
	case s.Repository != nil:
		root.unusable = "is a TUF repository within the document, which cannot be kept; its trusted_root.json can be, as trustedRootJSON"
		t.note(r, "spec.repository", false, "cannot be kept: sluice takes a trusted_root.json, pieces, or a repository's address")
	case s.SigstoreKeys != nil:
		t.pieces(root)
	default:
		text, err := compact([]byte(s.TrustedRootJSON))
		if err != nil {
			t.fail(r, "spec.trustedRootJSON", "not a trusted_root.json: %v", err)
			return
		}
		root.parts = &parts{}
		if err := json.Unmarshal([]byte(text), root.parts); err != nil {
			t.fail(r, "spec.trustedRootJSON", "not a trusted_root.json: its certificateAuthorities, ctlogs, tlogs and timestampAuthorities are lists")
			return
		}
		root.whole = mapping{{"data", text}}
	}
}

func (t *translator) remote(root *trustRoot) {
	r, w := root.resource, root.Spec.Remote
	mirror, err := url.Parse(w.Mirror)
	if err != nil || mirror.Host == "" || mirror.Scheme != "https" && mirror.Scheme != "http" {
		t.fail(r, "spec.remote.mirror", "the mirror is an http or https address")
		return
	}
	initial, err := decoded(w.Root)
	if err == nil && len(initial) == 0 {
		err = errors.New("it is empty")
	}
	var text string
	if err == nil {
		text, err = compact(initial)
	}
	if err != nil {
		t.fail(r, "spec.remote.root", "not a root.json in base64: %v", err)
		return
	}
	root.whole = mapping{{"tuf", mapping{{"mirror", w.Mirror}, {"root", mapping{{"data", text}}}}}}
	if w.Targets != "" && strings.Trim(w.Targets, "/") != "targets" {
		root.unusable = "has its targets elsewhere than in targets/, which cannot be kept"
		t.note(r, "spec.remote.targets", false, "cannot be kept: targets are looked for in targets/ alone")
	}
	if w.TrustedRootTarget != "" && w.TrustedRootTarget != "trusted_root.json" {
		root.unusable = "has a target of another name than trusted_root.json, which cannot be kept"
		t.note(r, "spec.remote.trustedRootTarget", false, "cannot be kept: the target that is fetched is trusted_root.json")
	}
}

// maxPieces bounds the pieces of one kind.
const maxPieces = 32

// pieces reads the keys and certificates of a root.
func (t *translator) pieces(root *trustRoot) {
	r, w, k := root.resource, root.Spec.SigstoreKeys, &keys{}
	k.authorities, k.chains = t.chains(root, "certificateAuthorities", w.CertificateAuthorities)
	k.timestamps, _ = t.chains(root, "timestampAuthorities", w.TimestampAuthorities)
	k.tlogs = t.logs(root, "tLogs", w.TLogs)
	k.ctlogs = t.logs(root, "ctLogs", w.CTLogs)
	if len(k.authorities) == 0 && len(k.timestamps) == 0 {
		t.fail(r, "spec.sigstoreKeys", "certificateAuthorities or timestampAuthorities is missing")
	}
	if max(len(k.authorities), len(k.timestamps), len(k.tlogs), len(k.ctlogs)) > maxPieces {
		t.fail(r, "spec.sigstoreKeys", "there are at most %d pieces of each kind here", maxPieces)
	}
	root.keys = k
}

func (t *translator) chains(root *trustRoot, field string, list []certificateAuthority) (out []mapping, chains [][]string) {
	r := root.resource
	for i, ca := range list {
		at := fmt.Sprintf("spec.sigstoreKeys.%s[%d]", field, i)
		blocks, parsed, err := certificates(ca.CertChain)
		if err != nil {
			t.fail(r, at+".certChain", "not a chain of PEM certificates in base64: %v", err)
			continue
		}
		if !chained(parsed, field == "timestampAuthorities") { // the order is not theirs to keep
			slices.Reverse(parsed)
			slices.Reverse(blocks)
		}
		if !chained(parsed, field == "timestampAuthorities") {
			root.unusable = "has certificates that are no chain"
			t.note(r, at+".certChain", false, "cannot be kept: each certificate must be issued by the next, and the authorities' certificates be authorities'")
		}
		m := mapping{{"chain", mapping{{"data", strings.Join(blocks, "")}}}}
		if field == "certificateAuthorities" {
			m = m.with("uri", ca.URI)
		} else if ca.URI != "" {
			t.note(r, at+".uri", false, "left out; verification does not ask there")
		}
		if ca.Subject != nil {
			t.note(r, at+".subject", false, "left out; the certificates say it themselves")
		}
		out, chains = append(out, m), append(chains, blocks)
	}
	return out, chains
}

func (t *translator) logs(root *trustRoot, field string, list []logInstance) (out []mapping) {
	r := root.resource
	for i, log := range list {
		at := fmt.Sprintf("spec.sigstoreKeys.%s[%d]", field, i)
		text, err := decoded(log.PublicKey)
		var key string
		var parsed any
		if err == nil {
			key, _, parsed, err = publicKey(text)
		}
		if err != nil {
			t.fail(r, at+".publicKey", "not a PEM public key in base64: %v", err)
			continue
		}
		if what := unsupported(parsed); what != "" {
			root.unusable = "has a log with a key that is " + what
			t.note(r, at+".publicKey", false, "cannot be kept: the key is %s", what)
		}
		m := mapping{{"key", mapping{{"data", key}}}}
		if u, err := url.Parse(log.BaseURL); field == "tLogs" && err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http") {
			m = m.with("baseURL", log.BaseURL)
		} else if log.BaseURL != "" {
			t.note(r, at+".baseURL", false, "left out; verification does not ask there")
		}
		if h := strings.ReplaceAll(strings.ToLower(log.HashAlgorithm), "-", ""); h != "" && h != "sha256" {
			t.note(r, at+".hashAlgorithm", false, "left out; logs' trees are of SHA-256")
		}
		out = append(out, m)
	}
	return out
}

// root finds the root that a field refers to, or says why there is none.
func (t *translator) root(name string) (*trustRoot, string) {
	root := t.roots[name]
	if root == nil {
		return nil, fmt.Sprintf("there is no TrustRoot named %q among the documents", name)
	}
	root.used = true
	if root.unusable != "" {
		return nil, fmt.Sprintf("the TrustRoot %q %s", name, root.unusable)
	}
	return root, ""
}

// decoded undoes the base64 that bytes have in such documents. Early ones have plain text.
func decoded(s string) ([]byte, error) {
	trimmed := strings.TrimSpace(s)
	if strings.HasPrefix(trimmed, "{") || strings.HasPrefix(trimmed, "-----BEGIN") {
		return []byte(trimmed), nil
	}
	return base64.StdEncoding.DecodeString(strings.Map(func(r rune) rune {
		if r == ' ' || r == '\n' || r == '\t' {
			return -1
		}
		return r
	}, trimmed))
}

// compact writes JSON on one line, as it is but for blanks. It must be a mapping.
func compact(text []byte) (string, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return "", errors.New("it is no JSON object")
	}
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		return "", err
	}
	return b.String(), nil
}

// certificates returns the certificates of a chain, each in PEM and parsed, without whatever stands around the blocks.
func certificates(s string) (blocks []string, parsed []*x509.Certificate, err error) {
	rest, err := decoded(s)
	if err != nil {
		return nil, nil, err
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, nil, fmt.Errorf("a PEM block is of type %q", block.Type)
		}
		var certificate *x509.Certificate
		if err := sound(func() (err error) { certificate, err = x509.ParseCertificate(block.Bytes); return err }); err != nil {
			return nil, nil, err
		}
		parsed = append(parsed, certificate)
		blocks = append(blocks, string(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})))
	}
	if len(blocks) == 0 {
		return nil, nil, errors.New("there is none in it")
	}
	return blocks, parsed, nil
}

// chained tells whether each certificate is issued by the next, and all are of authorities but for the first of a
// timestamp authority.
func chained(list []*x509.Certificate, timestamps bool) bool {
	if len(list) > maxPieces {
		return false
	}
	for i, certificate := range list {
		if !certificate.IsCA && (i > 0 || !timestamps) {
			return false
		}
		if i+1 < len(list) && sound(func() error { return certificate.CheckSignatureFrom(list[i+1]) }) != nil {
			return false
		}
	}
	return true
}

// publicKey returns the first public key in PEM, in its PKIX form, whether more follow, and the key itself.
func publicKey(text []byte) (out string, more bool, parsed any, err error) {
	block, rest := pem.Decode(text)
	if block == nil {
		return "", false, nil, errors.New("it is no PEM")
	}
	if block.Type != "PUBLIC KEY" && block.Type != "RSA PUBLIC KEY" {
		return "", false, nil, fmt.Errorf("the PEM block is of type %q", block.Type)
	}
	if err := sound(func() (err error) {
		if block.Type == "PUBLIC KEY" {
			parsed, err = x509.ParsePKIXPublicKey(block.Bytes)
		} else {
			parsed, err = x509.ParsePKCS1PublicKey(block.Bytes)
		}
		return err
	}); err != nil {
		return "", false, nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(parsed)
	if err != nil {
		return "", false, nil, err
	}
	next, _ := pem.Decode(rest)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), next != nil, parsed, nil
}

// sound runs a parser of keys or certificates.
func sound(parse func() error) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("it cannot be parsed")
		}
	}()
	if parse() != nil { // whose errors are for programmers
		return errors.New("what is inside a PEM block is damaged")
	}
	return nil
}
