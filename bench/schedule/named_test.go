package schedule

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestNamed(t *testing.T) {
	t.Parallel()
	f := func(name string, size int, d time.Duration, want string, reviews int) {
		t.Helper()
		s, err := Named(name, size, d)
		if err != nil || s.String() != want {
			t.Errorf("%s: %v %v", name, s, err)
		}
		if n := s.Reviews(); n < reviews-1 || n > reviews+1 { // where a rate falls to zero, the last one is a matter of rounding
			t.Errorf("%s: %d reviews, not %d", name, n, reviews)
		}
	}
	f("rollout", 500, 30*time.Second, "burst 125 every 7.5s for 30s", 500)
	f("rollout", 10, 8*time.Second, "burst 3 every 2s for 6s; burst 1 for 2s", 10)
	f("rollout", 1, 8*time.Second, "burst 1 every 2s for 2s", 1)
	f("node-drain", 100, 10*time.Second, "burst 80 for 1s; constant 2.2222222222222223/s for 9s", 100)
	f("cronjob-minute", 60, 100*time.Second,
		"constant 1/s for 10s; burst 60; constant 1/s for 1m; burst 60; constant 1/s for 30s", 220)
	f("cold-start", 200, 10*time.Second, "burst 100; ramp 20/s to 0/s for 10s", 200)

	for _, name := range Names() {
		for _, size := range []int{1, 2, 3, 5, 7, 1000} {
			s, err := Named(name, size, time.Second)
			if err != nil || s.Reviews() < size || math.Abs(s.Duration().Seconds()-1) > 1 {
				t.Errorf("%s %d: %v %v", name, size, s, err)
			}
		}
	}
}

func TestNamedErrors(t *testing.T) {
	t.Parallel()
	f := func(name string, size int, d time.Duration, problem string) {
		t.Helper()
		if s, err := Named(name, size, d); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%s %d %s: %v %v", name, size, d, s, err)
		}
	}
	f("rollback", 5, time.Minute, "only rollout, node-drain, cronjob-minute, cold-start")
	f("rollout", 0, time.Minute, "between 1 and 1000000")
	f("rollout", MaxSize+1, time.Minute, "between 1 and 1000000")
	f("rollout", 5, time.Millisecond, "between 1s and 24h")
	f("cronjob-minute", MaxSize, 24*time.Hour, "up to 100000000 reviews")
}
