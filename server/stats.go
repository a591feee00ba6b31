package server

import (
	"sync/atomic"
	"time"

	"sluice/engine"
)

// durationBounds are the upper bounds of the histograms' buckets, in seconds: 50 µs is a slow hit, 10 s is more than
// any review takes.
var durationBounds = [...]float64{
	50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1, 2.5, 5, 10,
}

// stripes is how many copies of the counters there are. A processor core keeps to one of them, nearly always, so that
// counting a hit writes to no memory that another core writes to.
const stripes = 16

const (
	outcomes = 8  // more than engine.Outcomes() has
	reasons  = 64 // more than engine.Reasons() has
)

// stripe is one copy of the counters of reviews.
type stripe struct {
	_        [64]byte
	begun    atomic.Uint64 // of the reviews that were not answered from the cache
	ended    atomic.Uint64
	reviews  [numKinds][2][outcomes][reasons]atomic.Uint64 // by door, by whether it was a hit (1) or not (0), by outcome and by reason
	unusable [numUnusable]atomic.Uint64
	duration [2]histogram // by whether it was a hit
	_        [64]byte
}

type histogram struct {
	buckets [len(durationBounds) + 1]atomic.Uint64
	sum     atomic.Int64 // ns
}

func (h *histogram) observe(d time.Duration) {
	seconds, i := d.Seconds(), 0
	for i < len(durationBounds) && seconds > durationBounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(int64(d))
}

// count counts a review that has been answered.
func (s *stripe) count(k kind, o engine.Outcome, r engine.Reason, hit bool, took time.Duration) {
	i := 0
	if hit {
		i = 1
	}
	s.reviews[k][i][o%outcomes][r%reasons].Add(1)
	s.duration[i].observe(took)
}

// counters are all that a Server counts.
type counters struct {
	stripes [stripes]stripe

	panics   atomic.Uint64
	refused  [numRefusals]atomic.Uint64
	accepted atomic.Uint64
	open     [numProtocols]atomic.Int64
	served   [numProtocols]atomic.Uint64

	handshakes          atomic.Uint64
	handshakesFailed    atomic.Uint64
	handshakesAbandoned atomic.Uint64
}

// Stats is what a Server counted since it was made, and what it holds now.
type Stats struct {
	Reviews  []ReviewCount     // every combination, also those that never happened
	Reasons  []ReasonCount     // every reason; of allowed reviews too
	Doors    []DoorCount       // every combination
	Unusable map[string]uint64 // requests that were no review, by what was wrong; they are denied reviews too
	Refused  map[string]uint64 // requests that were no review's business: other paths and methods, no valid token
	Panics   uint64            // recovered; each answered with a denial
	InFlight int64             // reviews that are being decided; one that is answered from the cache is over at once

	Hits, Misses Histogram // from when a request has been read until its reply is written down

	BodyBytes   int64 // room that large bodies take up now
	BodyLimit   int64 // and may take up
	BodyWaiting int64 // bodies that wait for room now

	ConnectionsAccepted uint64
	Connections         map[string]uint64 // that came to speak "h1" or "h2"
	ConnectionsOpen     map[string]int64  // "handshake", "h1", "h2"
	Handshakes          uint64            // that succeeded
	HandshakesFailed    uint64            // wrong certificate, no common version, too slow, not TLS
	HandshakesAbandoned uint64            // the caller hung up, as probes and clients with a connection to spare do
	HandshakesWaiting   int64             // that have something to compute now, and wait for their turn

	CertificateExpiry time.Time // the first of the chain's
	ClientCAExpiry    time.Time // the first of the bundle's; zero without one
}

// ReviewCount counts reviews of one outcome.
type ReviewCount struct {
	Outcome engine.Outcome
	Hit     bool // answered from the cache
	Count   uint64
}

// DoorCount counts reviews of one outcome at the doors of one kind: "imagereview", "validate" or "mutate".
type DoorCount struct {
	Door    string
	Outcome engine.Outcome
	Count   uint64
}

// ReasonCount counts reviews of one reason.
type ReasonCount struct {
	Reason engine.Reason
	Count  uint64
}

// Histogram counts durations. Bounds are the buckets' upper bounds in seconds; Counts has one bucket more, for what is
// above the last, and is not cumulative. Sum is in seconds.
type Histogram struct {
	Bounds []float64
	Counts []uint64
	Sum    float64
}

// Stats returns the counts. They are read one after the other while reviews go on.
func (s *Server) Stats() Stats {
	c := &s.counters
	identity := s.credentials.current.Load()
	st := Stats{
		Unusable: map[string]uint64{}, Refused: map[string]uint64{},
		Panics:    c.panics.Load(),
		BodyBytes: s.bodies.used.Load(), BodyLimit: s.config.MaxBodies, BodyWaiting: s.bodies.waiting.Load(),
		ConnectionsAccepted: c.accepted.Load(),
		Connections:         map[string]uint64{}, ConnectionsOpen: map[string]int64{},
		Handshakes: c.handshakes.Load(), HandshakesFailed: c.handshakesFailed.Load(),
		HandshakesAbandoned: c.handshakesAbandoned.Load(), HandshakesWaiting: s.gate.waiting.Load(),
		CertificateExpiry: identity.certExpiry, ClientCAExpiry: identity.caExpiry,
	}
	byReason := make([]uint64, reasons)
	for _, o := range engine.Outcomes() {
		var byDoor [numKinds]uint64
		for hit := range 2 {
			var all uint64
			for k := range numKinds {
				for r := range byReason {
					n := sum(c, func(p *stripe) *atomic.Uint64 { return &p.reviews[k][hit][o][r] })
					byReason[r] += n
					byDoor[k] += n
					all += n
				}
			}
			st.Reviews = append(st.Reviews, ReviewCount{o, hit == 1, all})
		}
		for k := range numKinds {
			st.Doors = append(st.Doors, DoorCount{k.String(), o, byDoor[k]})
		}
	}
	for _, r := range engine.Reasons() {
		st.Reasons = append(st.Reasons, ReasonCount{r, byReason[r]})
	}
	for u := range numUnusable {
		st.Unusable[u.String()] = sum(c, func(p *stripe) *atomic.Uint64 { return &p.unusable[u] })
	}
	for r := admitted + 1; r < numRefusals; r++ {
		st.Refused[r.String()] = c.refused[r].Load()
	}
	for p := range numProtocols {
		st.ConnectionsOpen[p.String()] = c.open[p].Load()
		if p != protocolNone {
			st.Connections[p.String()] = c.served[p].Load()
		}
	}
	ended := sum(c, func(p *stripe) *atomic.Uint64 { return &p.ended }) // before begun, so as never to be the larger
	st.InFlight = int64(sum(c, func(p *stripe) *atomic.Uint64 { return &p.begun }) - ended)
	st.Misses, st.Hits = c.histogram(0), c.histogram(1)
	return st
}

func sum(c *counters, of func(*stripe) *atomic.Uint64) (n uint64) {
	for i := range c.stripes {
		n += of(&c.stripes[i]).Load()
	}
	return n
}

func (c *counters) histogram(hit int) Histogram {
	h := Histogram{Bounds: durationBounds[:], Counts: make([]uint64, len(durationBounds)+1)}
	for i := range c.stripes {
		from := &c.stripes[i].duration[hit]
		for b := range h.Counts {
			h.Counts[b] += from.buckets[b].Load()
		}
		h.Sum += time.Duration(from.sum.Load()).Seconds()
	}
	return h
}
