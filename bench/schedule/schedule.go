// Package schedule says when the reviews of a load are meant to be sent.
//
// It decides moments and nothing else: it knows no clock, sends nothing, and gives the same moments for the same
// schedule every time. Whoever follows it must not wait for an answer before the next moment: a load that waits for a
// slow server asks less of it, and does not see how slow it is.
package schedule

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"time"
)

// Limits of a schedule: what one machine can send, and the memory that moments take up.
const (
	MaxRate     = 1e6            // reviews a second
	MaxDuration = 24 * time.Hour // of all phases together
	MaxReviews  = 100_000_000    // of all phases together
)

// Schedule is a list of phases, one after the other.
type Schedule []Phase

// Phase is a stretch of time in which reviews are sent at a rate, at a rate that changes evenly, or in bursts. Without
// any of these nothing is sent.
type Phase struct {
	Duration time.Duration `json:"duration"` // nanoseconds

	Rate float64 `json:"rate,omitempty"` // reviews a second
	To   float64 `json:"to,omitempty"`   // the rate at the end of a ramp, which begins with Rate; see Ramp
	Ramp bool    `json:"ramp,omitempty"` // whether the rate changes from Rate to To

	Burst int           `json:"burst,omitempty"` // reviews at one moment, at the beginning of the phase and then at every
	Every time.Duration `json:"every,omitempty"` // distance; 0: once
}

// Validate tells what is wrong with the schedule.
func (s Schedule) Validate() error {
	if len(s) == 0 {
		return errors.New("a schedule needs a phase, such as: constant 1000/s for 30s")
	}
	for i, p := range s {
		if err := p.validate(); err != nil {
			return fmt.Errorf("phase %d: %w", i+1, err)
		}
	}
	switch {
	case s.Duration() > MaxDuration:
		return fmt.Errorf("a schedule may last up to %s, and this one is longer", MaxDuration)
	case s.reviews() < 1:
		return errors.New("nothing would be sent by this schedule")
	case s.reviews() > MaxReviews:
		return fmt.Errorf("a schedule may have up to %d reviews, not %.0f", MaxReviews, s.reviews())
	}
	return nil
}

func (p *Phase) validate() error {
	badRate := func(r float64) bool { return math.IsNaN(r) || r < 0 || r > MaxRate }
	switch {
	case p.Duration < 0 || p.Duration > MaxDuration:
		return fmt.Errorf("it may last up to %s, not %s", MaxDuration, p.Duration)
	case badRate(p.Rate) || badRate(p.To):
		return fmt.Errorf("a rate is between 0 and %.0f reviews a second", MaxRate)
	case p.Burst < 0 || p.Every < 0:
		return errors.New("a burst has a size and a distance above zero")
	case p.Burst > 0 && (p.Rate > 0 || p.To > 0 || p.Ramp):
		return errors.New("it has either a rate or bursts")
	case p.Burst > 0 && p.Every > 0 && p.Every < time.Millisecond:
		return errors.New("bursts are at least 1ms apart; write a rate instead")
	}
	return nil
}

// Duration is how long all phases take together.
func (s Schedule) Duration() (d time.Duration) {
	for _, p := range s {
		if d += p.Duration; d < 0 || d > MaxDuration {
			return MaxDuration + 1
		}
	}
	return d
}

// Reviews counts the moments.
func (s Schedule) Reviews() (n int) {
	for range s.Moments() {
		n++
	}
	return n
}

// reviews estimates Reviews without walking through them.
func (s Schedule) reviews() (n float64) {
	for i := range s {
		n += s[i].reviews()
	}
	return n
}

func (p *Phase) reviews() float64 {
	switch {
	case p.Burst > 0 && p.Every > 0:
		return float64(p.Burst) * math.Ceil(float64(p.Duration)/float64(p.Every))
	case p.Burst > 0:
		return float64(p.Burst)
	case p.Ramp:
		return (p.Rate + p.To) / 2 * p.Duration.Seconds()
	}
	return p.Rate * p.Duration.Seconds()
}

// RateAt is the intended rate in reviews a second at a moment. Of bursts it is the average.
func (s Schedule) RateAt(at time.Duration) float64 {
	for i := range s {
		p := &s[i]
		if at >= p.Duration {
			at -= p.Duration
			continue
		}
		switch {
		case p.Burst > 0:
			return p.reviews() / p.Duration.Seconds()
		case p.Ramp:
			return p.Rate + (p.To-p.Rate)*at.Seconds()/p.Duration.Seconds()
		}
		return p.Rate
	}
	return 0
}

// Moments yields when each review is meant to be sent, from the beginning of the schedule on, in order.
func (s Schedule) Moments() iter.Seq[time.Duration] {
	return func(yield func(time.Duration) bool) {
		var begin time.Duration
		for i := range s {
			if !s[i].moments(begin, yield) {
				return
			}
			begin += s[i].Duration
		}
	}
}

func (p *Phase) moments(begin time.Duration, yield func(time.Duration) bool) bool {
	if p.Burst > 0 {
		for at := time.Duration(0); at < p.Duration || at == 0; at += p.Every {
			for range p.Burst {
				if !yield(begin + at) {
					return false
				}
			}
			if p.Every == 0 {
				break
			}
		}
		return true
	}
	for n := 0; ; n++ {
		at, ok := p.moment(float64(n))
		if !ok || at >= p.Duration {
			return true
		}
		if !yield(begin + at) {
			return false
		}
	}
}

// moment is when n reviews have been sent: the solution of n = rate·t + slope·t²/2. It is computed anew for each
// review, so that rounding does not add up.
func (p *Phase) moment(n float64) (time.Duration, bool) {
	rate, slope := p.Rate, 0.0
	if p.Ramp && p.Duration > 0 {
		slope = (p.To - p.Rate) / p.Duration.Seconds()
	}
	var seconds float64
	switch {
	case slope != 0:
		root := rate*rate + 2*slope*n
		if root < 0 {
			return 0, false // a falling ramp has come to its end
		}
		// This form of the quadratic formula loses no digits where the rate is large and the slope small.
		if n == 0 {
			return 0, true
		}
		seconds = 2 * n / (rate + math.Sqrt(root))
	case rate > 0:
		seconds = n / rate
	default:
		return 0, false
	}
	if seconds > MaxDuration.Seconds() {
		return 0, false
	}
	return time.Duration(seconds * float64(time.Second)), true
}
