package e2e

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// issuer is an OpenID Connect issuer with as much of one as Fulcio asks about: discovery and keys. It has two faces,
// since Fulcio reads the claims of an issuer's tokens by the one type that it is configured with: people, with an
// address each, and the jobs of a forge.
type issuer struct {
	server *httptest.Server
	key    *rsa.PrivateKey
}

const issuerKeyID = "e2e"

// The paths of its faces.
const (
	people = "/people"
	jobs   = "/jobs"
)

func startIssuer() (*issuer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	i := &issuer{key: key}
	mux := http.NewServeMux()
	for _, face := range []string{people, jobs} {
		mux.HandleFunc("GET "+face+"/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, http.StatusOK, map[string]any{
				"issuer": i.url(face), "jwks_uri": i.url(face) + "/keys",
				"authorization_endpoint": i.url(face) + "/authorize", "token_endpoint": i.url(face) + "/token",
				"response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"},
				"id_token_signing_alg_values_supported": []string{"RS256"},
			})
		})
		mux.HandleFunc("GET "+face+"/keys", func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, http.StatusOK, map[string]any{"keys": []any{map[string]any{
				"kty": "RSA", "use": "sig", "alg": "RS256", "kid": issuerKeyID,
				"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()),
				"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
			}}})
		})
	}
	i.server = httptest.NewServer(mux)
	return i, nil
}

func (i *issuer) url(face string) string { return i.server.URL + face }

// mint makes a token. Fulcio wants the audience "sigstore", which is what cosign asks an issuer for.
func (i *issuer) mint(t testing.TB, face string, claims map[string]any) string {
	t.Helper()
	now := time.Now()
	all := map[string]any{
		"iss": i.url(face), "aud": "sigstore", "iat": now.Unix(), "nbf": now.Add(-time.Minute).Unix(),
		"exp": now.Add(5 * time.Minute).Unix(),
	}
	maps.Copy(all, claims)
	header, err := json.Marshal(map[string]string{"alg": "RS256", "typ": "JWT", "kid": issuerKeyID})
	must(t, err)
	payload, err := json.Marshal(all)
	must(t, err)
	signed := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(payload)
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, i.key, crypto.SHA256, digest[:])
	must(t, err)
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// person is the token of somebody with an address, which becomes the subject of the certificate.
func (i *issuer) person(t testing.TB, address string) string {
	t.Helper()
	return i.mint(t, people, map[string]any{"sub": address, "email": address, "email_verified": true})
}

// job is the token of a job of a forge. Fulcio's type github-workflow wants all of these claims, and makes
// https://github.com/ and the job_workflow_ref the subject.
func (i *issuer) job(t testing.TB, repository, ref string) string {
	t.Helper()
	owner, _, _ := strings.Cut(repository, "/")
	commit := fmt.Sprintf("%040x", 1)
	workflow := repository + "/.github/workflows/release.yml@" + ref
	return i.mint(t, jobs, map[string]any{
		"sub": "repo:" + repository + ":ref:" + ref, "job_workflow_ref": workflow, "workflow_ref": workflow,
		"sha": commit, "job_workflow_sha": commit, "workflow_sha": commit, "event_name": "push", "ref": ref,
		"workflow": "release", "repository": repository, "repository_id": "1", "repository_owner": owner,
		"repository_owner_id": "2", "repository_visibility": "public", "runner_environment": "github-hosted",
		"run_id": "3", "run_attempt": "1",
	})
}

func writeJSON(w http.ResponseWriter, status int, what any) {
	content, err := json.Marshal(what)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(content)
}
