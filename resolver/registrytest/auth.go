package registrytest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Auth is how a registry asks for credentials.
type Auth int

// The ways.
const (
	NoAuth     Auth = iota
	BasicAuth       // user name and password with each request
	BearerAuth      // a token from /token, as Docker Hub does it
)

const tokenPath = "/token"

type grant struct {
	scopes  []string
	expires time.Time
}

// RevokeTokens makes all tokens given so far worthless, before their time.
func (r *Registry) RevokeTokens() {
	r.tokensMu.Lock()
	defer r.tokensMu.Unlock()
	clear(r.tokens)
}

// authorized tells whether a request may pass; if not, it has been answered.
func (r *Registry) authorized(w http.ResponseWriter, req *http.Request) bool {
	repository, _, _ := splitPath(req.URL.Path)
	switch r.opts.Auth {
	case BasicAuth:
		if r.knows(req) {
			return true
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="registrytest"`)
	case BearerAuth:
		if token, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer "); ok && r.covers(token, repository) {
			return true
		}
		realm := r.opts.Realm
		if realm == "" {
			realm = r.URL() + tokenPath
		}
		challenge := fmt.Sprintf(`Bearer realm="%s",service="registrytest"`, realm)
		if repository != "" {
			challenge += fmt.Sprintf(`,scope="repository:%s:pull"`, repository)
		}
		w.Header().Set("WWW-Authenticate", challenge)
	default:
		return true
	}
	writeError(w, http.StatusUnauthorized, "UNAUTHORIZED")
	return false
}

func (r *Registry) knows(req *http.Request) bool {
	user, password, ok := req.BasicAuth()
	return ok && user == r.opts.Username && password == r.opts.Password
}

func (r *Registry) covers(token, repository string) bool {
	r.tokensMu.Lock()
	defer r.tokensMu.Unlock()
	g, ok := r.tokens[token]
	if !ok || time.Now().After(g.expires) {
		return false
	}
	return repository == "" || slices.Contains(g.scopes, "repository:"+repository+":pull")
}

func (r *Registry) giveToken(w http.ResponseWriter, req *http.Request) {
	if r.opts.Username != "" && !r.knows(req) {
		writeError(w, http.StatusUnauthorized, "UNAUTHORIZED")
		return
	}
	ttl := r.opts.TokenTTL
	if ttl == 0 {
		ttl = 5 * time.Minute
	}
	token := rand.Text()
	r.tokensMu.Lock()
	r.tokens[token] = grant{scopes: req.URL.Query()["scope"], expires: time.Now().Add(ttl)}
	r.tokensMu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "expires_in": int(ttl / time.Second)})
}

func writeError(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"by order"}]}`, code)
}
