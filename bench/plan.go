// Package bench loads a server with reviews as apiservers send them, and measures what that costs.
//
// It decides how many reviews are under way and when, and what the figures mean. It trusts its own clock and the
// operating system's accounts of processes, and nothing that the server says about itself; what the server's metrics
// say is passed on beside. It never waits for an answer before it sends the next review, unless it is asked for a closed
// loop, and it measures from the moment at which a review was meant to be sent: else a server that stops for a second
// would look as if only one review had noticed.
package bench

import (
	"context"
	"time"

	"sluice/bench/schedule"
)

// Review is one review to send. Nothing of it may be changed.
type Review struct {
	Body []byte // the request's, as the plugin encodes it
	Key  string // what the plugin's cache goes by: the review's spec
	Deny Expectation
}

// Expectation is what a workload knows of the verdict on a review.
type Expectation uint8

// The expectations.
const (
	Unknown Expectation = iota
	ExpectAllow
	ExpectDeny
)

// Workload makes reviews. Next is called from one goroutine at a time.
type Workload interface {
	Next() Review
	String() string // in words, for the report
}

// Answer is what came of a review that was sent.
type Answer struct {
	Status  int  // of HTTP
	Allowed bool // a verdict of status 200 that allows
	Cached  bool // a simulated apiserver remembered it: nothing was sent
	Verdict bool // whether there is a verdict: status 200 (or what the plugin takes for it), and a body that decodes
}

// Client sends reviews. Its methods are called concurrently.
type Client interface {
	// Do sends a review and returns what was answered. An error means that there was no answer; Kind names what kind of
	// error it is, for counting.
	Do(ctx context.Context, r *Review) (Answer, error)
	Kind(err error) string // KindTimeout, or such as "eof", "reset", "refused", "tls", "goaway"
	Connections() Connections
	Close()
	String() string // in words, for the report
}

// KindTimeout is the kind of error that is counted among the latencies: whoever waited in vain has waited.
const KindTimeout = "timeout"

// Sender is a Client that needs no goroutine for each review in flight: at 100,000 reviews a second, starting one and
// waking it costs as much as the rest of the client.
type Sender interface {
	Client
	// Send sends a review, or puts it in line, and returns without waiting for the answer. done.Answered is called
	// exactly once, on a goroutine that serves other reviews too: it must not block, and may call Send. It may be called
	// before Send returns. After deadline, give or take 20 ms, the error is one whose Kind is "timeout"; there is no
	// deadline if it is zero. The review may not be reused before Answered was called. Send is called concurrently.
	Send(r *Review, deadline time.Time, done Receiver)
}

// Receiver is who waits for an answer.
type Receiver interface{ Answered(a Answer, err error) }

// Plan is a run: what is sent, when, how, and what is looked at meanwhile.
type Plan struct {
	Name     string
	Target   string // the URL, for the report
	Protocol string // "h1" or "h2", for the report
	Seed     uint64 // of the workload, for the report

	Workload Workload
	Client   Client

	// Schedule is when reviews are sent: the open loop. Or else Closed reviews are always in flight, for Duration.
	Schedule schedule.Schedule
	Closed   int
	Duration time.Duration

	WarmUp      int           // reviews sent one after the other before the run, and not measured
	Timeout     time.Duration // of one review; default 30 s, the plugin's own
	MaxInFlight int           // beyond it reviews are dropped, and counted as failed; default 20,000
	Interval    time.Duration // of Result.Series; default 1 s, or less for a short run

	PID     int                                // of the server if it runs on this machine, or 0
	Metrics func() (map[string]float64, error) // reads the server's metrics; nil: not looked at

	Progress func(Progress) // called every half second or so; nil: nobody looks
}

// Progress is how far a run has come.
type Progress struct {
	At, Of    time.Duration
	Intended  int64
	Sent      int64
	Answered  int64
	Failed    int64
	InFlight  int64
	Rate      float64       // answers a second, of late
	P50, P99  time.Duration // of late
	ServerCPU float64       // cores in use, of late; 0 if unknown
}
