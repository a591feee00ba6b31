package bench

import (
	"time"

	"sluice/bench/schedule"
)

// FormatVersion is that of a Result's JSON. It rises when a reader of an older one would be misled.
const FormatVersion = 1

// Result is what a run found out: everything that a report shows, and everything that comparing two runs takes. Its JSON
// is what sluice-bench writes and reads. Durations in it are nanoseconds, except where a name says otherwise.
type Result struct {
	Version int       `json:"version"`
	Name    string    `json:"name,omitempty"` // of the scenario; may be empty
	Started time.Time `json:"started"`
	Command []string  `json:"command,omitempty"` // the program's arguments, without anything secret
	Machine Machine   `json:"machine"`
	Commit  string    `json:"commit,omitempty"` // of the load generator

	Load     Load   `json:"load"`     // what was meant to be sent
	Counts   Counts `json:"counts"`   // what became of it
	Elapsed  int64  `json:"elapsed"`  // from the first intended moment to the last answer
	Complete bool   `json:"complete"` // false if the run was interrupted: the rest is true of what was sent until then

	// Latency is from the moment at which a review was meant to be sent until its answer was read: what a pod would have
	// waited. In a closed loop there is no such moment, and Latency is Service.
	Latency Latency `json:"latency"`
	// Service is from the moment at which a review was really sent.
	Service Latency `json:"service"`

	Series []Interval `json:"series"` // one after the other, of equal length

	Connections Connections        `json:"connections"`
	Generator   Generator          `json:"generator"`
	Server      *Process           `json:"server,omitempty"`  // what the server's process used, if it runs on this machine
	Metrics     map[string]Metric  `json:"metrics,omitempty"` // of the server's /metrics, by name and labels
	Extra       map[string]float64 `json:"extra,omitempty"`   // what a scenario measured beside, such as "registry_requests"
	Checks      []Check            `json:"checks,omitempty"`  // thresholds
}

// Machine is where the load was generated.
type Machine struct {
	OS     string `json:"os"`     // such as "linux 6.1.0"
	CPU    string `json:"cpu"`    // the model, as the system names it
	Cores  int    `json:"cores"`  // that this process may use
	Memory int64  `json:"memory"` // bytes; 0 if unknown
	Go     string `json:"go"`     // the version of the load generator's runtime
}

// Load is what was asked for.
type Load struct {
	Target   string            `json:"target"` // the URL
	Client   string            `json:"client"` // in words, such as "apiserver, h2, mTLS, 3 apiservers, cache of 1024"
	Protocol string            `json:"protocol"`
	Workload string            `json:"workload"` // in words
	Seed     uint64            `json:"seed"`
	Schedule schedule.Schedule `json:"schedule,omitempty"` // open loop
	Closed   int               `json:"closed,omitempty"`   // closed loop: how many reviews are always in flight
	Duration int64             `json:"duration"`           // as planned
	Reviews  int64             `json:"reviews,omitempty"`  // as planned; 0 in a closed loop
}

// Counts are of reviews.
type Counts struct {
	Sent     int64            `json:"sent"`     // to the server
	Cached   int64            `json:"cached"`   // answered by the simulated cache of an apiserver, and not sent
	Allowed  int64            `json:"allowed"`  //
	Denied   int64            `json:"denied"`   //
	Wrong    int64            `json:"wrong"`    // verdicts other than the workload expects; part of Allowed or Denied
	Errors   map[string]int64 `json:"errors"`   // reviews without a verdict, by what went wrong: "timeout", "eof", "status 502"
	Statuses map[string]int64 `json:"statuses"` // HTTP statuses, "200" among them
	Dropped  int64            `json:"dropped"`  // never sent, because too many were in flight
}

// Failed is how many reviews have no verdict.
func (c *Counts) Failed() int64 {
	n := c.Dropped
	for _, e := range c.Errors {
		n += e
	}
	return n
}

// Answered is how many reviews got a verdict from the server.
func (c *Counts) Answered() int64 { return c.Allowed + c.Denied }

// Latency is a distribution of durations.
type Latency struct {
	Count  int64        `json:"count"`
	Min    int64        `json:"min"`
	Mean   float64      `json:"mean"`
	Max    int64        `json:"max"`
	Points []Percentile `json:"points"`        // in rising order, up to 99.999
	HDR    string       `json:"hdr,omitempty"` // the histogram itself, in the V2 compressed form of HdrHistogram, base64
}

// Percentile is one point of a distribution: Percent of all took Value or less.
type Percentile struct {
	Percent float64 `json:"percent"`
	Value   int64   `json:"value"`
}

// At returns the value at a percentile that is among Points, or the next one above; 0 if there is none.
func (l *Latency) At(percent float64) time.Duration {
	for _, p := range l.Points {
		if p.Percent >= percent-1e-9 {
			return time.Duration(p.Value)
		}
	}
	return 0
}

// Interval is a stretch of a run.
type Interval struct {
	At       int64   `json:"at"`       // of its beginning, from the run's
	Length   int64   `json:"length"`   //
	Intended float64 `json:"intended"` // reviews meant to be sent in it; in a closed loop, those sent
	Sent     int64   `json:"sent"`
	Answered int64   `json:"answered"` // counted where the answer arrived
	Failed   int64   `json:"failed"`

	// Of the reviews that were meant to be sent in this interval.
	P50 int64 `json:"p50"`
	P90 int64 `json:"p90"`
	P99 int64 `json:"p99"`
	Max int64 `json:"max"`

	ServerCPU float64 `json:"serverCPU,omitempty"` // cores in use
	ServerRSS int64   `json:"serverRSS,omitempty"` // bytes, at the end
	InFlight  int64   `json:"inFlight"`            // at the end
}

// Connections is what the clients did below HTTP.
type Connections struct {
	Opened    int64 `json:"opened"`    // handshakes that succeeded
	Failed    int64 `json:"failed"`    // that did not
	Unused    int64 `json:"unused"`    // opened, and never carried a review
	WarmedUp  int64 `json:"warmedUp"`  // those of Opened that were made before the run
	Handshake int64 `json:"handshake"` // the mean duration of one
}

// Generator is what the load generator itself did: whether its own figures can be trusted.
type Generator struct {
	CPU        float64  `json:"cpu"`                  // cores in use, on average
	CPUReview  float64  `json:"cpuReview"`            // microseconds a review
	Lag        Latency  `json:"lag"`                  // from the intended moment to the real one
	Bottleneck []string `json:"bottleneck,omitempty"` // each a sentence that says why it was one; empty if it was none
}

// Process is what a process used during a run.
type Process struct {
	PID       int     `json:"pid"`
	User      int64   `json:"user"`      // CPU time in user mode
	System    int64   `json:"system"`    // and in the kernel
	CPUReview float64 `json:"cpuReview"` // microseconds of both a review that was answered
	RSSBegin  int64   `json:"rssBegin"`  // bytes
	RSSEnd    int64   `json:"rssEnd"`    //
	RSSMax    int64   `json:"rssMax"`    // the highest that was seen
}

// Metric is one sample of the server's metrics.
type Metric struct {
	Before float64 `json:"before"`
	After  float64 `json:"after"`
}

// Check is a threshold, and whether it held.
type Check struct {
	Text  string  `json:"text"` // as it was given, such as "p99 < 5ms"
	Value float64 `json:"value"`
	OK    bool    `json:"ok"`
	Note  string  `json:"note,omitempty"` // why it could not be checked; it then does not hold
}
