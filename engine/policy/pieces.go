package policy

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// pieces makes a trusted root of certificates and keys.
func (c *compiler) pieces(path string, w *TrustedRoot) ([]byte, bool) {
	before := len(c.errs)
	root := rootJSON{
		MediaType:              rootMediaType,
		CertificateAuthorities: c.chains(path+".certificateAuthorities", w.CertificateAuthorities, false),
		TimestampAuthorities:   c.chains(path+".timestampAuthorities", w.TimestampAuthorities, true),
		CTLogs:                 c.logs(path+".ctLogs", w.CTLogs, false),
		TLogs:                  c.logs(path+".tLogs", w.TLogs, true),
	}
	if len(c.errs) > before {
		return nil, false
	}
	return c.marshal(path, root)
}

func (c *compiler) marshal(path string, v any) ([]byte, bool) {
	text, err := json.Marshal(v)
	if err != nil {
		c.fail(path, "%v", err)
		return nil, false
	}
	return text, true
}

// maxPieces bounds each list of pieces.
const maxPieces = 32

func (c *compiler) listed(path string, n int) bool {
	switch {
	case !c.doc.Has(path):
		return false
	case n == 0:
		c.fail(path, "the list is empty; leave it out if there is none")
		return false
	case n > maxPieces:
		c.fail(path, "there are at most %d in a list", maxPieces)
		return false
	}
	return true
}

// logs makes the entries of logs. What they sign is told apart by the log's ID: the SHA-256 of its key (RFC 6962, 3.2),
// and in Rekor v2 that of its name and key (c2sp.org/signed-note), which differs for some kinds of key.
func (c *compiler) logs(path string, list []Log, rekor bool) []json.RawMessage {
	if !c.listed(path, len(list)) {
		return nil
	}
	var all []json.RawMessage
	for i, w := range list {
		here := fmt.Sprintf("%s[%d]", path, i)
		if c.missing(here+".key", "it is the log's public key in PEM") {
			continue
		}
		host := ""
		if c.doc.Has(here + ".baseURL") {
			u, err := url.Parse(w.BaseURL)
			if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
				c.fail(here+".baseURL", "this is the log's address, such as https://rekor.example.com")
				continue
			}
			host = u.Hostname()
		}
		text, at, ok := c.source(here+".key", w.Key, keyMaterial())
		if !ok {
			continue
		}
		keys, err := parseLogKey(text)
		if err != nil {
			c.fail(at, "%v", err)
			continue
		}
		der, key := keys.der, keys.key
		sum := sha256.Sum256(der)
		ids := [][]byte{sum[:]}
		if rekor && host != "" {
			if id := noteID(host, key, der); id != nil {
				ids = append(ids, id)
			}
		}
		for _, id := range ids {
			entry := logJSON{
				BaseURL:       w.BaseURL,
				HashAlgorithm: "SHA2_256",
				PublicKey:     keyJSON{der, keyDetails(key), periodJSON{Start: time.Unix(0, 0).UTC().Format(time.RFC3339)}},
				LogID:         logIDsJSON{id},
			}
			if text, ok := c.marshal(here, entry); ok {
				all = append(all, text)
			}
		}
	}
	return all
}

type logKey struct {
	der []byte
	key crypto.PublicKey
}

func parseLogKey(text []byte) (logKey, error) {
	keys, err := parseKeys(text)
	if err != nil {
		return logKey{}, err
	}
	if len(keys) > 1 {
		return logKey{}, errors.New("a log has one key; make an entry of each")
	}
	for der, key := range keys {
		return logKey{[]byte(der), key}, nil
	}
	return logKey{}, errors.New("there is no key")
}

// noteID is the ID of a log in Rekor v2, untruncated; nil where it is that of RFC 6962.
func noteID(name string, key crypto.PublicKey, der []byte) []byte {
	h := sha256.New()
	h.Write([]byte(name + "\n"))
	switch key := key.(type) {
	case ed25519.PublicKey:
		h.Write([]byte{1})
		h.Write(key)
	case *rsa.PublicKey:
		h.Write([]byte("\xffPKIX-RSA-PKCS#1v1.5"))
		h.Write(der)
	default:
		return nil
	}
	return h.Sum(nil)
}

// keyDetails names a key's kind, of those that parseKey accepts (message PublicKeyDetails).
func keyDetails(key crypto.PublicKey) string {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if key.Curve.Params().BitSize == 384 {
			return "PKIX_ECDSA_P384_SHA_384"
		}
		return "PKIX_ECDSA_P256_SHA_256"
	case *rsa.PublicKey:
		return fmt.Sprintf("PKIX_RSA_PKCS1V15_%d_SHA256", key.N.BitLen())
	}
	return "PKIX_ED25519"
}
