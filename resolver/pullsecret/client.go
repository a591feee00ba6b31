package pullsecret

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxAnswer = 2 << 20 // bytes: a secret's 1 MiB in base64, and what is known about it
	maxToken  = 64 << 10
	tokenTTL  = time.Minute
)

// client makes GET requests to the API server.
type client struct {
	server, tokenFile string
	timeout           time.Duration
	http              http.Client

	mu    sync.Mutex // guards what follows
	token string
	read  time.Time // when the token was

	requests, missing, forbidden, failed atomic.Uint64
	took                                 atomic.Int64 // nanoseconds
	wrong                                atomic.Pointer[string]
	good                                 atomic.Bool // something was granted once
}

func newClient(c Config) (*client, error) {
	transport, err := c.transport()
	if err != nil {
		return nil, err
	}
	made := &client{
		server: c.Server, tokenFile: c.TokenFile, timeout: c.Timeout,
		http: http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	if _, err := made.bearer(false); err != nil {
		return nil, err
	}
	return made, nil
}

// bearer returns the token, read anew if it was read some time ago, or at once. If it can't be, the last one may still
// do.
func (c *client) bearer(again bool) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !again && c.token != "" && time.Since(c.read) < tokenTTL {
		return c.token, nil
	}
	token, err := readToken(c.tokenFile)
	c.read = time.Now()
	switch {
	case err == nil:
		c.token = token
	case c.token == "":
		return "", fmt.Errorf("tokenFile: %w", err)
	}
	return c.token, nil
}

func readToken(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(text))
	if token == "" || len(text) > maxToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%s holds no token", path)
	}
	return token, nil
}

// What the API server says about an object itself.
var (
	errNotFound  = errors.New("it does not exist")
	errForbidden = errors.New("the API server answers 403: RBAC does not let this service account get it")
)

// get asks for an object and decodes it. The error never holds any of it.
func (c *client) get(ctx context.Context, path string, into any) error {
	begun := time.Now()
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	err := c.ask(limited, path, into)
	c.took.Add(int64(time.Since(begun)))
	switch {
	case err == nil:
		c.granted()
	case errors.Is(err, errNotFound):
		c.missing.Add(1)
		c.granted()
	case errors.Is(err, errForbidden):
		c.forbidden.Add(1)
		if !c.good.Load() { // or else it may be as it should be: of this namespace, or for this account
			c.note(err)
		}
	case ctx.Err() == nil:
		c.failed.Add(1)
		c.note(err)
	case time.Since(begun) >= patience: // or else nobody waits any more, which is all that is wrong
		c.failed.Add(1)
		c.note(errors.New("the API server does not answer"))
	}
	return err
}

// patience is what the API server may take before it is at fault, however little time the caller has left.
const patience = time.Second

func (c *client) granted() {
	c.good.Store(true)
	c.wrong.Store(nil)
}

// note keeps what is wrong until it is right, without saying what was asked for.
func (c *client) note(err error) {
	if request := (*url.Error)(nil); errors.As(err, &request) {
		err = request.Err
	}
	text := err.Error()
	c.wrong.Store(&text)
}

// ask makes the request, and once more if the token is another by now.
func (c *client) ask(ctx context.Context, path string, into any) error {
	token, err := c.bearer(false)
	if err != nil {
		return err
	}
	status, body, err := c.send(ctx, path, token)
	if err == nil && status == http.StatusUnauthorized {
		newer, readErr := c.bearer(true)
		if readErr != nil {
			return readErr
		}
		if newer != token {
			status, body, err = c.send(ctx, path, newer)
		}
	}
	switch {
	case err != nil:
		return err
	case status == http.StatusNotFound:
		return errNotFound
	case status == http.StatusForbidden:
		return errForbidden
	case status == http.StatusUnauthorized:
		return errors.New("the API server answers 401: it does not take the token")
	case status != http.StatusOK:
		return fmt.Errorf("the API server answers %d", status)
	}
	if json.Unmarshal(body, into) != nil { // the error could quote a secret
		return errors.New("the API server's answer is not the JSON of the object")
	}
	return nil
}

// send makes one request. The body is read for 200 alone.
func (c *client) send(ctx context.Context, path, token string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.server+path, nil)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "sluice")
	c.requests.Add(1)
	reply, err := c.http.Do(req)
	if err != nil && strings.Contains(err.Error(), token) { // net/http quotes what is no HTTP
		return 0, nil, errors.New("the API server's answer is no HTTP, and repeats the token")
	}
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = reply.Body.Close() }() // what counts has been read
	if reply.StatusCode != http.StatusOK {
		_, _ = io.CopyN(io.Discard, reply.Body, 4<<10) // so that the connection can be used again
		return reply.StatusCode, nil, nil
	}
	if reply.ContentLength > maxAnswer {
		return 0, nil, errLong
	}
	var b bytes.Buffer
	b.Grow(int(max(reply.ContentLength, 0)) + bytes.MinRead)
	n, err := b.ReadFrom(io.LimitReader(reply.Body, maxAnswer+1))
	switch {
	case err != nil:
		return 0, nil, err
	case n > maxAnswer:
		return 0, nil, errLong
	}
	return reply.StatusCode, b.Bytes(), nil
}

var errLong = errors.New("the API server's answer is longer than 2 MiB")
