package load

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Target is a server that takes requests of its own kind.
type Target struct {
	URL    string
	TLS    *tls.Config
	Bodies [][]byte // of the requests
	Want   []byte   // what the body of each answer has to contain
	Never  []byte   // and what it may not; nil: nothing
}

// poster sends requests by net/http's client, over HTTP/1.1.
type poster struct {
	target Target
	client *http.Client
	opened atomic.Int64
}

func newPoster(t Target, connections int) *poster {
	p := &poster{target: t}
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	p.client = &http.Client{Transport: &http.Transport{
		TLSClientConfig: t.TLS.Clone(), MaxIdleConnsPerHost: connections, DisableCompression: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			p.opened.Add(1)
			return dialer.DialContext(ctx, network, addr)
		},
	}}
	return p
}

func (p *poster) post(ctx context.Context, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.target.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header["Content-Type"] = []string{"application/json"}
	response, err := p.client.Do(request)
	if err != nil {
		return err
	}
	answer, err := io.ReadAll(response.Body)
	_ = response.Body.Close() // it has been read
	if err != nil {
		return err
	}
	return p.target.Check(response.StatusCode, answer)
}

// Check says what came in place of the answer that was wanted.
func (t *Target) Check(status int, body []byte) error {
	if status == http.StatusOK && bytes.Contains(body, t.Want) && (t.Never == nil || !bytes.Contains(body, t.Never)) {
		return nil
	}
	return fmt.Errorf("status %d, and not the answer that was wanted: %.300q", status, body)
}

// Posts keeps so many requests under way, each on a connection, which the server may close after each.
func Posts(ctx context.Context, t Target, flight int, w Window) (Result, error) {
	p := newPoster(t, flight)
	defer p.client.CloseIdleConnections()
	var next atomic.Int64
	workers := make([]Worker, flight)
	for i := range workers {
		workers[i] = func(ctx context.Context, m *Meter) error {
			for !m.Stopped() {
				begin := time.Now()
				if err := p.post(ctx, t.Bodies[int(next.Add(1)-1)%len(t.Bodies)]); err != nil {
					return err
				}
				m.Answered(begin)
			}
			return nil
		}
	}
	return Run(ctx, w, p.opened.Load, workers)
}

// Once sends each body once, with so many requests under way, and calls begin and end around all of them. first is sent
// before, to open the connections.
func Once(ctx context.Context, t Target, first []byte, flight int, begin, end func()) (Result, error) {
	p := newPoster(t, flight)
	defer p.client.CloseIdleConnections()
	if err := p.together(ctx, first, flight); err != nil {
		return Result{}, err
	}
	opened := p.opened.Load()
	result := Result{Requests: int64(len(t.Bodies)), Latency: NewHistogram()}
	var next atomic.Int64
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	begin()
	began := time.Now()
	for range flight {
		wg.Go(func() {
			for n := int(next.Add(1)) - 1; n < len(t.Bodies); n = int(next.Add(1)) - 1 {
				sent := time.Now()
				err := p.post(ctx, t.Bodies[n])
				took := time.Since(sent)
				mu.Lock()
				if err != nil {
					errs = append(errs, err)
				}
				_ = result.Latency.RecordValue(int64(min(max(took, time.Microsecond), time.Minute)))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	end()
	result.Elapsed, result.Connections = time.Since(began), p.opened.Load()-opened
	if len(errs) > 0 {
		return result, errors.Join(fmt.Errorf("%d of %d requests failed", len(errs), len(t.Bodies)), errs[0])
	}
	return result, nil
}

// together sends so many requests at once.
func (p *poster) together(ctx context.Context, body []byte, flight int) error {
	failed := make(chan error, flight)
	for range flight {
		go func() { failed <- p.post(ctx, body) }()
	}
	var errs []error
	for range flight {
		errs = append(errs, <-failed)
	}
	return errors.Join(errs...)
}
