package resolver

import (
	"sync/atomic"
	"time"

	"sluice/cache"
	"sluice/engine"
)

// outcome is what became of one request to a registry.
type outcome int

const (
	outcomeOK        outcome = iota
	outcomeChallenge         // 401 to a request without credentials: how a registry asks for them
	outcomeNotFound
	outcomeDenied
	outcomeThrottled
	outcomeUnavailable
	outcomeTimeout
	outcomeCanceled // nobody waits for the answer any more, or another has been enough
	outcomeMalformed
	outcomeOther
	numOutcomes
)

func (o outcome) String() string {
	return [numOutcomes]string{
		"ok", "challenge",
		engine.ReasonImageNotFound.String(),
		engine.ReasonRegistryDenied.String(),
		engine.ReasonRegistryThrottled.String(),
		engine.ReasonRegistryUnavailable.String(),
		engine.ReasonTimeout.String(),
		"canceled",
		engine.ReasonRegistryMalformed.String(),
		engine.ReasonInternal.String(),
	}[o]
}

func outcomeOf(f *engine.Failure) outcome {
	switch f.Reason {
	case engine.ReasonImageNotFound:
		return outcomeNotFound
	case engine.ReasonRegistryDenied:
		return outcomeDenied
	case engine.ReasonRegistryThrottled:
		return outcomeThrottled
	case engine.ReasonRegistryUnavailable:
		return outcomeUnavailable
	case engine.ReasonTimeout:
		return outcomeTimeout
	case engine.ReasonRegistryMalformed:
		return outcomeMalformed
	}
	return outcomeOther
}

// durationBounds are the upper bounds of the histogram's buckets; what took longer is in the last bucket.
var durationBounds = [...]time.Duration{
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second,
}

type counters struct {
	outcomes [numOutcomes]atomic.Uint64
	buckets  [len(durationBounds) + 1]atomic.Uint64
	sum      atomic.Int64 // nanoseconds
}

func (c *counters) observe(o outcome, took time.Duration) {
	c.outcomes[o].Add(1)
	c.sum.Add(int64(took))
	i := 0
	for i < len(durationBounds) && took > durationBounds[i] {
		i++
	}
	c.buckets[i].Add(1)
}

// RegistryStats counts the requests that were sent on behalf of one entry of the configuration, its token services
// and redirects included, since the Resolver was made.
type RegistryStats struct {
	Host     string         // as configured, patterns too: the number of hosts is bounded
	Outcomes []OutcomeCount // every outcome, always in the same order
	Buckets  []uint64       // requests by duration: one count for each of DurationBounds, and one for what is above
	Sum      time.Duration  // of all durations
}

// OutcomeCount says how many requests had an outcome: ok, challenge (a 401 to a request that carried no credentials),
// or the name of an [engine.Reason].
type OutcomeCount struct {
	Outcome string
	Count   uint64
}

// DurationBounds returns the upper bounds, inclusive, of RegistryStats' buckets.
func DurationBounds() []time.Duration { return append([]time.Duration(nil), durationBounds[:]...) }

// Stats returns the counts by registry, in the order of the configuration.
func (r *Resolver) Stats() []RegistryStats {
	all := make([]RegistryStats, len(r.registries))
	for i, reg := range r.registries {
		s := RegistryStats{Host: reg.host.text, Sum: time.Duration(reg.counters.sum.Load())}
		for o := range numOutcomes {
			s.Outcomes = append(s.Outcomes, OutcomeCount{o.String(), reg.counters.outcomes[o].Load()})
		}
		for b := range reg.counters.buckets {
			s.Buckets = append(s.Buckets, reg.counters.buckets[b].Load())
		}
		all[i] = s
	}
	return all
}

// TagStats returns the counts of the cache of tags.
func (r *Resolver) TagStats() cache.Stats { return r.tags.Stats() }
