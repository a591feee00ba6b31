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
	"strings"
)

// trustRoot is what a TrustRoot document stands for.
type trustRoot struct {
	*resource
	used bool

	keys     *keys   // pieces
	whole    mapping // in place of pieces: a TUF repository, or a trusted_root.json
	unusable string  // why it cannot be used at all; empty if it can
}

// keys are the pieces of a root, each ready to be written.
type keys struct {
	authorities, tlogs, ctlogs, timestamps []mapping
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
		root.keys = t.pieces(r)
	default:
		text, err := compact([]byte(s.TrustedRootJSON))
		if err != nil {
			t.fail(r, "spec.trustedRootJSON", "not a trusted_root.json: %v", err)
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

// pieces reads the keys and certificates of a root.
func (t *translator) pieces(r *resource) *keys {
	w, k := r.Spec.SigstoreKeys, &keys{}
	chains := func(field string, list []certificateAuthority) (out []mapping) {
		for i, ca := range list {
			at := fmt.Sprintf("spec.sigstoreKeys.%s[%d]", field, i)
			chain, err := certificates(ca.CertChain)
			if err != nil {
				t.fail(r, at+".certChain", "not a chain of PEM certificates in base64: %v", err)
			}
			m := mapping{{"chain", mapping{{"data", chain}}}}
			if field == "certificateAuthorities" {
				m = m.with("uri", ca.URI)
			} else if ca.URI != "" {
				t.note(r, at+".uri", false, "left out; verification does not ask there")
			}
			if ca.Subject != nil {
				t.note(r, at+".subject", false, "left out; the certificates say it themselves")
			}
			out = append(out, m)
		}
		return out
	}
	logs := func(field string, list []logInstance) (out []mapping) {
		for i, log := range list {
			at := fmt.Sprintf("spec.sigstoreKeys.%s[%d]", field, i)
			key, err := logKey(log.PublicKey)
			if err != nil {
				t.fail(r, at+".publicKey", "not a PEM public key in base64: %v", err)
			}
			m := mapping{{"key", mapping{{"data", key}}}}
			if field == "tLogs" {
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
	k.authorities = chains("certificateAuthorities", w.CertificateAuthorities)
	k.tlogs = logs("tLogs", w.TLogs)
	k.ctlogs = logs("ctLogs", w.CTLogs)
	k.timestamps = chains("timestampAuthorities", w.TimestampAuthorities)
	if len(k.authorities) == 0 && len(k.timestamps) == 0 {
		t.fail(r, "spec.sigstoreKeys", "certificateAuthorities or timestampAuthorities is missing")
	}
	return k
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

// certificates returns a chain without whatever stands around its PEM blocks.
func certificates(s string) (string, error) {
	rest, err := decoded(s)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return "", fmt.Errorf("a PEM block is of type %q", block.Type)
		}
		if err := sound(func() error { _, err := x509.ParseCertificate(block.Bytes); return err }); err != nil {
			return "", err
		}
		out.Write(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes}))
	}
	if out.Len() == 0 {
		return "", errors.New("there is none in it")
	}
	return out.String(), nil
}

// logKey returns the PEM of a log's key.
func logKey(s string) (string, error) {
	text, err := decoded(s)
	if err != nil {
		return "", err
	}
	key, _, _, err := publicKey(text)
	return key, err
}

// publicKey returns the first public key in PEM, in its PKIX form, whether more follow, and the key itself.
func publicKey(text []byte) (out string, more bool, parsed any, err error) {
	block, rest := pem.Decode(text)
	if block == nil {
		return "", false, nil, errors.New("it is no PEM")
	}
	if err := sound(func() (err error) {
		switch block.Type {
		case "PUBLIC KEY":
			parsed, err = x509.ParsePKIXPublicKey(block.Bytes)
		case "RSA PUBLIC KEY":
			parsed, err = x509.ParsePKCS1PublicKey(block.Bytes)
		default:
			err = fmt.Errorf("the PEM block is of type %q", block.Type)
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

// sound runs a parser that is not ours.
func sound(parse func() error) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("it cannot be parsed")
		}
	}()
	return parse()
}
