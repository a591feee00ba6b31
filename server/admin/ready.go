package admin

import (
	"net/http"
	"strings"
)

// State is how a check went.
type State uint8

// The states. The zero value is Failed, so that a check nobody filled in does not pass.
const (
	Failed State = iota // not ready
	Amber               // ready, and somebody should look
	OK                  // ready
)

// Check is one line of /readyz.
type Check struct {
	Name  string // such as "policy"
	State State
	Text  string // what is wrong, or for [OK] what there is; for people, may be empty or have several lines
}

// live answers as long as the process can answer anything.
func (s *Server) live(w http.ResponseWriter, _ *http.Request) {
	_, _ = w.Write([]byte("ok\n"))
}

// ready answers 200 or 503, in the format of kube-apiserver's own /readyz. Without ?verbose it shows only the checks
// that want attention.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	var checks []Check
	if s.cfg.Checks != nil {
		checks = s.cfg.Checks()
	}
	if s.draining.Load() {
		checks = append(checks[:len(checks):len(checks)], Check{Name: "shutdown", State: Failed, Text: "draining"})
	}
	verbose := r.URL.Query().Has("verbose")
	var b strings.Builder
	failed := false
	for _, c := range checks {
		failed = failed || c.State != OK && c.State != Amber
		if verbose || c.State != OK {
			c.write(&b)
		}
	}
	switch {
	case failed:
		b.WriteString("readyz check failed\n")
		w.WriteHeader(http.StatusServiceUnavailable)
	case b.Len() > 0 || verbose:
		b.WriteString("readyz check passed\n")
	default:
		b.WriteString("ok\n")
	}
	_, _ = w.Write([]byte(b.String()))
}

func (c Check) write(b *strings.Builder) {
	// A text of several lines, an error with its excerpt for one, stays one item.
	text := strings.ReplaceAll(strings.TrimRight(c.Text, "\n"), "\n", "\n    ")
	switch c.State {
	case OK:
		b.WriteString("[+]" + c.Name + " ok")
		if text != "" {
			b.WriteString(": " + text)
		}
	case Amber:
		b.WriteString("[!]" + c.Name + " " + text)
	default:
		b.WriteString("[-]" + c.Name + " failed")
		if text != "" {
			b.WriteString(": " + text)
		}
	}
	b.WriteByte('\n')
}
