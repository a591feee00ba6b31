package h2

import (
	"context"
	"io"
	"runtime/debug"
)

// start runs a job for a stream, or sheds it. in is nil if the job has the body already.
func (c *conn) start(s *stream, job Job, in *body) {
	if c.server.jobs.Add(1) > int64(c.server.config.MaxJobs) {
		c.server.jobs.Add(-1)
		defer job.Close()
		c.reply(s, job.Shed())
		return
	}
	ctx, cancel := context.WithCancel(c.ctx)
	s.running, s.cancel, s.body = true, cancel, in
	s.request = Request{Method: s.request.Method, ContentLength: s.request.ContentLength} // the job has what it needs
	c.jobs.Add(1)
	go c.work(ctx, s, job, in)
}

// work is the goroutine of a job.
func (c *conn) work(ctx context.Context, s *stream, job Job, in *body) {
	defer c.jobs.Done()
	defer c.guard()
	reply, fault := run(ctx, job, in)
	s.cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	defer job.Close()
	c.server.jobs.Add(-1)
	s.running = false
	if s.removed {
		c.orphans--
	}
	if fault != nil {
		c.kill(fault)
	}
	if c.over || c.failure != nil {
		return
	}
	if !s.removed {
		c.need()
		if c.reply(s, reply); len(c.out) > maxUnsent { // which the reader does not hold up
			c.kill(errUnsent)
		}
	}
	c.settle()
	c.flush()
}

// run keeps a panic from ending the process, and from keeping what the job has taken.
func run(ctx context.Context, job Job, in *body) (reply Reply, fault error) {
	defer func() {
		if v := recover(); v != nil {
			fault = &Panic{v, debug.Stack()}
		}
	}()
	var r io.Reader
	if in != nil {
		r = in
	}
	return job.Run(ctx, r), nil
}
