package schedule

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func moments(s Schedule) []time.Duration { return slices.Collect(s.Moments()) }

func TestMoments(t *testing.T) {
	t.Parallel()
	ms := time.Millisecond
	for name, c := range map[string]struct {
		schedule Schedule
		want     []time.Duration
	}{
		"constant":             {Schedule{{Duration: 50 * ms, Rate: 100}}, []time.Duration{0, 10 * ms, 20 * ms, 30 * ms, 40 * ms}},
		"nothing":              {Schedule{{Duration: time.Second}}, nil},
		"a burst":              {Schedule{{Duration: time.Second, Burst: 3}}, []time.Duration{0, 0, 0}},
		"a burst in no time":   {Schedule{{Burst: 2}}, []time.Duration{0, 0}},
		"bursts":               {Schedule{{Duration: 300 * ms, Burst: 2, Every: 100 * ms}}, []time.Duration{0, 0, 100 * ms, 100 * ms, 200 * ms, 200 * ms}},
		"one after another":    {Schedule{{Duration: 20 * ms, Rate: 100}, {Duration: 20 * ms}, {Burst: 1}}, []time.Duration{0, 10 * ms, 40 * ms}},
		"a ramp from nothing":  {Schedule{{Duration: 2 * time.Second, Ramp: true, To: 2}}, []time.Duration{0, 1414213562}},
		"a ramp that is flat":  {Schedule{{Duration: 30 * ms, Ramp: true, Rate: 100, To: 100}}, []time.Duration{0, 10 * ms, 20 * ms}},
		"a ramp down to zero":  {Schedule{{Duration: 2 * time.Second, Ramp: true, Rate: 2}}, []time.Duration{0, 585786437}},
		"a ramp in no time":    {Schedule{{Ramp: true, Rate: 2, To: 5}}, nil},
		"less than one review": {Schedule{{Duration: time.Second, Rate: 0.1}}, []time.Duration{0}},
	} {
		if got := moments(c.schedule); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestRamp holds the number of moments, and the rate around each, against what was asked for.
func TestRamp(t *testing.T) {
	t.Parallel()
	for _, p := range []Phase{
		{Duration: 10 * time.Second, Ramp: true, Rate: 100, To: 5000},
		{Duration: 10 * time.Second, Ramp: true, Rate: 5000, To: 100},
		{Duration: 10 * time.Second, Ramp: true, To: 1000},
		{Duration: 10 * time.Second, Ramp: true, Rate: 1000},
		{Duration: time.Hour, Ramp: true, Rate: 100, To: 100.001},
	} {
		s := Schedule{p}
		all := moments(s)
		if want := s.reviews(); math.Abs(float64(len(all))-want) > 1 {
			t.Errorf("%+v: %d reviews, want %.0f", p, len(all), want)
		}
		if !slices.IsSorted(all) || all[len(all)-1] >= p.Duration {
			t.Errorf("%+v: the moments are out of order, or beyond the end", p)
		}
		for _, i := range []int{len(all) / 10, len(all) / 2, len(all) * 9 / 10} {
			const span = 50
			got := 2 * span / (all[i+span] - all[i-span]).Seconds()
			if want := s.RateAt(all[i]); math.Abs(got-want) > want/50 {
				t.Errorf("%+v: %.1f reviews a second around %s, want %.1f", p, got, all[i], want)
			}
		}
	}
}

func TestRateAt(t *testing.T) {
	t.Parallel()
	s := Schedule{
		{Duration: time.Second, Rate: 10},
		{Duration: time.Second, Burst: 200, Every: 250 * time.Millisecond},
		{Duration: time.Second, Ramp: true, Rate: 10, To: 20},
	}
	for at, want := range map[time.Duration]float64{0: 10, 1500 * time.Millisecond: 800, 2500 * time.Millisecond: 15, 3 * time.Second: 0} {
		if got := s.RateAt(at); got != want {
			t.Errorf("at %s: %v, want %v", at, got, want)
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	fine := Schedule{{Duration: time.Second, Rate: MaxRate}}
	if err := fine.Validate(); err != nil {
		t.Error(err)
	}
	for text, s := range map[string]Schedule{
		"needs a phase":         {},
		"may last up to 24h":    {{Duration: 20 * time.Hour}, {Duration: 20 * time.Hour}},
		"phase 2: it may last":  {{Duration: time.Second}, {Duration: -1}},
		"between 0 and 1000000": {{Duration: time.Second, Rate: math.NaN()}},
		"a rate is between":     {{Duration: time.Second, Ramp: true, To: math.Inf(1)}},
		"above zero":            {{Duration: time.Second, Burst: -1}},
		"either a rate":         {{Duration: time.Second, Burst: 1, Rate: 1}},
		"at least 1ms apart":    {{Duration: time.Second, Burst: 1, Every: time.Microsecond}},
		"100000000 reviews":     {{Duration: time.Hour, Rate: MaxRate}},
		"phase 1: it may last":  {{Duration: math.MaxInt64}, {Duration: math.MaxInt64}},
		"nothing would be sent": {{Rate: 5}},
	} {
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%+v: %v, want something of %q", s, err, text)
		}
	}
}

func TestMomentsStop(t *testing.T) {
	t.Parallel()
	n := 0
	for range (Schedule{{Burst: 5}, {Duration: time.Second, Rate: 5}}).Moments() {
		if n++; n == 2 {
			break
		}
	}
	if n != 2 {
		t.Errorf("%d moments", n)
	}
}
