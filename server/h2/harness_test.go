package h2

import (
	"bytes"
	"context"
	"io"
	"strconv"
	"strings"
	"sync"
)

// kit is a Handler for tests. What a path begins with says how it is answered.
type kit struct {
	mu     sync.Mutex // guards the following
	active []bool
	failed []Failure

	begun   chan string   // told the path of a job that has begun
	proceed chan struct{} // jobs at /wait return when it is closed, or their context ends
	ended   chan error    // told what ended the context of such a job, or nil
}

func newKit() *kit {
	return &kit{begun: make(chan string, 10_000), proceed: make(chan struct{}), ended: make(chan error, 10_000)}
}

func (k *kit) Head(r *Request) bool { return !strings.HasPrefix(r.Path, "/refused") }

func (k *kit) Refuse(*Request, []byte) Reply {
	return Reply{Status: 405, Allow: "POST", Body: []byte("refused")}
}

func (k *kit) Small(r *Request, body, dst []byte) (Reply, Job) {
	switch {
	case strings.HasPrefix(r.Path, "/panic"):
		panic("a fault")
	case strings.HasPrefix(r.Path, "/wait"), strings.HasPrefix(r.Path, "/job"):
		return Reply{}, &kitJob{k, *r, bytes.Clone(body)}
	case strings.HasPrefix(r.Path, "/long"):
		return Reply{Status: 200, Body: bytes.Repeat([]byte("x"), 100_000)}, nil
	case strings.HasPrefix(r.Path, "/empty"):
		return Reply{Status: 200}, nil
	}
	return Reply{Status: 200, Body: append(append(dst, "echo:"...), body...)}, nil
}

func (k *kit) Large(r *Request) Job { return &kitJob{k, *r, nil} }

func (k *kit) Fail(_ *Request, why Failure, dst []byte) Reply {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failed = append(k.failed, why)
	return Reply{Status: 200, Body: append(append(dst, "failed:"...), '0'+byte(why))}
}

func (k *kit) Active(under bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.active = append(k.active, under)
}

type kitJob struct {
	kit     *kit
	request Request
	body    []byte
}

func (j *kitJob) Run(ctx context.Context, body io.Reader) Reply {
	j.kit.begun <- j.request.Path
	if strings.HasPrefix(j.request.Path, "/job/panic") {
		panic("a fault")
	}
	if strings.HasPrefix(j.request.Path, "/wait") {
		select {
		case <-j.kit.proceed:
			j.kit.ended <- nil
		case <-ctx.Done():
			j.kit.ended <- ctx.Err()
		}
	}
	if body != nil {
		n, err := io.Copy(io.Discard, body)
		if err != nil {
			return Reply{Status: 200, Body: []byte("error:" + err.Error())}
		}
		return Reply{Status: 200, Body: []byte("read:" + strconv.FormatInt(n, 10))}
	}
	return Reply{Status: 200, Body: append([]byte("job:"), j.body...)}
}

func (j *kitJob) Shed() Reply { return Reply{Status: 200, Body: []byte("shed")} }

func (j *kitJob) Close() {}
