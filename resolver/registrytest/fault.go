package registrytest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Fault stands between a request and the registry's true answer.
type Fault func(next http.Handler) http.Handler

// Hook makes a Fault of a function that answers a request itself (true) or leaves it to the registry (false).
func Hook(f func(w http.ResponseWriter, r *http.Request) bool) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !f(w, r) {
				next.ServeHTTP(w, r)
			}
		})
	}
}

// Times lets the first n requests go through f, and the later ones past it.
func Times(n int64, f Fault) Fault {
	var seen atomic.Int64
	return func(next http.Handler) http.Handler {
		faulty := f(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if seen.Add(1) <= n {
				faulty.ServeHTTP(w, r)
			} else {
				next.ServeHTTP(w, r)
			}
		})
	}
}

// Latency waits before each answer.
func Latency(d time.Duration) Fault {
	return Hook(func(_ http.ResponseWriter, r *http.Request) bool { return !pause(r, d) })
}

// Until answers once the channel is closed.
func Until(gate <-chan struct{}) Fault {
	return Hook(func(_ http.ResponseWriter, r *http.Request) bool {
		select {
		case <-gate:
			return false
		case <-r.Context().Done():
			return true
		}
	})
}

// Hang never answers; the request ends with its client or with the registry.
func Hang() Fault {
	return Hook(func(_ http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return true
	})
}

// Status answers with a status and the error body of the distribution specification.
func Status(code int) Fault {
	return Hook(func(w http.ResponseWriter, _ *http.Request) bool {
		writeError(w, code, strings.ToUpper(strings.ReplaceAll(http.StatusText(code), " ", "_")))
		return true
	})
}

// Throttle answers 429 with a Retry-After of so many seconds.
func Throttle(seconds int) Fault {
	return Hook(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		writeError(w, http.StatusTooManyRequests, "TOOMANYREQUESTS")
		return true
	})
}

// Drop closes the connection without an answer.
func Drop() Fault {
	return Hook(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) })
}

// Redirect sends the client to the same path under another base, such as http://other.example.com:5000.
func Redirect(base string) Fault {
	return Hook(func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, base+r.URL.Path, http.StatusTemporaryRedirect)
		return true
	})
}

// Drip sends the true answer's body one byte at a time, a pause before each.
func Drip(every time.Duration) Fault {
	return altered(func(w http.ResponseWriter, r *http.Request, c *capture) {
		c.writeHead(w)
		_ = http.NewResponseController(w).Flush()
		for i := range c.body.Len() {
			if !pause(r, every) {
				return
			}
			_, _ = w.Write(c.body.Bytes()[i : i+1])
			_ = http.NewResponseController(w).Flush()
		}
	})
}

// Truncate sends the true answer's head and half of its body, and closes the connection.
func Truncate() Fault {
	return altered(func(w http.ResponseWriter, _ *http.Request, c *capture) {
		c.header.Set("Content-Length", strconv.Itoa(c.body.Len()))
		c.writeHead(w)
		_, _ = w.Write(c.body.Bytes()[:c.body.Len()/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
}

// WrongDigestHeader sends the true body and says that its digest is another.
func WrongDigestHeader() Fault {
	return altered(func(w http.ResponseWriter, _ *http.Request, c *capture) {
		c.header.Set("Docker-Content-Digest", "sha256:"+strings.Repeat("0123456789abcdef", 4))
		c.writeAll(w)
	})
}

// WrongBody sends a body that is not what was asked for, under the true head. Blanks are added, so that JSON stays
// what it says.
func WrongBody() Fault {
	return altered(func(w http.ResponseWriter, _ *http.Request, c *capture) {
		c.body.WriteString("  ")
		c.header.Set("Content-Length", strconv.Itoa(c.body.Len()))
		c.writeAll(w)
	})
}

// Substitute is WrongBody without the header that would give it away: only hashing shows it.
func Substitute() Fault {
	wrong := WrongBody()
	return func(next http.Handler) http.Handler {
		return wrong(altered(func(w http.ResponseWriter, _ *http.Request, c *capture) {
			c.header.Del("Docker-Content-Digest")
			c.writeAll(w)
		})(next))
	}
}

// ContentType sends the true body under another media type.
func ContentType(mediaType string) Fault {
	return altered(func(w http.ResponseWriter, _ *http.Request, c *capture) {
		c.header.Set("Content-Type", mediaType)
		c.writeAll(w)
	})
}

// Oversize sends n bytes of blanks under the true head. With declared they are announced by Content-Length. The
// number of bytes that could be written is added to sent, where that is not nil.
func Oversize(n int64, declared bool, sent *atomic.Int64) Fault {
	return altered(func(w http.ResponseWriter, _ *http.Request, c *capture) {
		c.header.Del("Content-Length")
		if declared {
			c.header.Set("Content-Length", strconv.FormatInt(n, 10))
		}
		c.header.Del("Docker-Content-Digest")
		c.writeHead(w)
		blanks := bytes.Repeat([]byte(" "), 32<<10)
		for left := n; left > 0; {
			wrote, err := w.Write(blanks[:min(left, int64(len(blanks)))])
			left -= int64(wrote)
			if sent != nil {
				sent.Add(int64(wrote))
			}
			if err != nil {
				return
			}
		}
	})
}

// GzipBomb sends n bytes of blanks, compressed, and says so in Content-Encoding.
func GzipBomb(n int64) Fault {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = io.CopyN(z, blank{}, n)
	_ = z.Close()
	return altered(func(w http.ResponseWriter, _ *http.Request, c *capture) {
		c.header.Set("Content-Encoding", "gzip")
		c.header.Set("Content-Length", strconv.Itoa(bomb.Len()))
		c.header.Del("Docker-Content-Digest")
		c.writeHead(w)
		_, _ = w.Write(bomb.Bytes())
	})
}

type blank struct{}

func (blank) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// altered makes a Fault of a change to the true answer. An answer that is no success passes unchanged.
func altered(change func(http.ResponseWriter, *http.Request, *capture)) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c := newCapture()
			next.ServeHTTP(c, r)
			if c.status != http.StatusOK {
				c.writeAll(w)
				return
			}
			change(w, r, c)
		})
	}
}

// pause waits, and tells whether the whole time has passed.
func pause(r *http.Request, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

// capture is a ResponseWriter that keeps the answer.
type capture struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newCapture() *capture { return &capture{header: http.Header{}, status: http.StatusOK} }

func (c *capture) Header() http.Header         { return c.header }
func (c *capture) WriteHeader(status int)      { c.status = status }
func (c *capture) Write(p []byte) (int, error) { return c.body.Write(p) }

func (c *capture) writeHead(w http.ResponseWriter) {
	for k, v := range c.header {
		w.Header()[k] = v
	}
	w.WriteHeader(c.status)
}

func (c *capture) writeAll(w http.ResponseWriter) {
	c.writeHead(w)
	_, _ = w.Write(c.body.Bytes())
}

func (c *capture) err(what string) error {
	if c.status < 300 {
		return nil
	}
	return fmt.Errorf("%s: %d %s", what, c.status, strings.TrimSpace(c.body.String()))
}
