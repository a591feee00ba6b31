package report

import (
	"fmt"
	"math"
)

// axis maps values to a stretch of pixels, and knows where its ticks are.
type axis struct {
	low, high float64
	log       bool
	from, to  float64 // pixels of low and high
	label     func(v float64) string
	steps     []float64 // the distances that ticks may have; empty: any round one
}

// maxTicks is about how many ticks an axis has.
const maxTicks = 6

// tiniest is below anything that is measured, and far enough from where numbers end.
const tiniest = 1e-300

// linear is an axis from 0 to a round number that is at least high.
func linear(high float64, label func(float64) string) axis {
	if !(high > tiniest) {
		high = 1
	}
	high = min(high, 1/tiniest)
	step := round(high / maxTicks)
	return axis{high: math.Ceil(high/step-1e-9) * step, label: label}
}

// logarithmic is an axis over all decades that low to high touch.
func logarithmic(low, high float64, label func(float64) string) axis {
	if !(low > tiniest && low < 1/tiniest) {
		low = 1
	}
	if !(high > low) {
		high = low
	}
	high = min(high, 1/tiniest)
	// Where that leaves most of the plot empty, the axis begins or ends within a decade.
	fit := func(v float64, up bool) float64 {
		decade := math.Pow(10, math.Floor(math.Log10(v)+1e-9))
		best := decade
		for _, m := range []float64{1, 2, 5, 10} {
			at := m * decade
			if up && at >= v*(1-1e-9) {
				return at
			}
			if !up && at <= v*(1+1e-9) {
				best = at
			}
		}
		return best
	}
	a := axis{low: fit(low, false), high: fit(high, true), log: true, label: label}
	if a.high <= a.low {
		a.high = a.low * 10
	}
	return a
}

// round is the round number (1, 2 or 5 and zeros) at or above v.
func round(v float64) float64 {
	decade := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if m*decade >= v*(1-1e-9) {
			return m * decade
		}
	}
	return 10 * decade
}

// clock is an axis of time, in seconds from 0.
func clock(high float64) axis {
	if !(high > tiniest && high < 1/tiniest) {
		high = 1
	}
	steps := []float64{10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600}
	if high < 60 {
		steps = nil
	}
	return axis{high: high, steps: steps, label: func(v float64) string {
		switch s := int64(math.Round(v)); {
		case high < 10:
			return number(v) + " s"
		case high < 120:
			return fmt.Sprintf("%d s", s)
		case high < 7200:
			return fmt.Sprintf("%d:%02d", s/60, s%60)
		default:
			return fmt.Sprintf("%d:%02d h", s/3600, s/60%60)
		}
	}}
}

// at is the pixel of a value.
func (a *axis) at(v float64) float64 {
	v = min(max(v, a.low), a.high)
	part := (v - a.low) / (a.high - a.low)
	if a.log {
		part = math.Log(v/a.low) / math.Log(a.high/a.low)
	}
	return a.from + part*(a.to-a.from)
}

// ticks are the values at which there is a line; those of which named is true have a label too.
func (a *axis) ticks() (values []float64, named []bool) {
	if !a.log {
		return a.evenTicks()
	}
	decades := math.Log10(a.high / a.low)
	every := 1 + int(decades/8)
	for i := 0; ; i++ {
		decade := math.Pow(10, math.Floor(math.Log10(a.low)+1e-9)+float64(i))
		if !(decade <= a.high*(1+1e-9)) {
			return values, named
		}
		for _, m := range []float64{1, 2, 5} {
			if v := m * decade; v >= a.low*(1-1e-9) && v <= a.high*(1+1e-9) && (m == 1 && i%every == 0 || decades <= 5) {
				values = append(values, v)
				named = append(named, m == 1 || decades <= 2)
			}
		}
	}
}

func (a *axis) evenTicks() (values []float64, named []bool) {
	step := round((a.high - a.low) / maxTicks)
	for _, s := range a.steps {
		if s >= step {
			step = s
			break
		}
	}
	for i := 0; ; i++ {
		v := a.low + float64(i)*step
		if v > a.high*(1+1e-9) || i > 10*maxTicks {
			return values, named
		}
		if v < 1 { // 0.3, and not 0.30000000000000004
			v = math.Round(v*1e12) / 1e12
		}
		values, named = append(values, v), append(named, true)
	}
}
