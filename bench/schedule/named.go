package schedule

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// MaxSize bounds the size of a named shape.
const MaxSize = 1_000_000

// shape is a load that operators know by name.
type shape struct {
	name string
	make func(size int, d time.Duration) Schedule
}

// shapes are in the order in which they are shown.
func shapes() []shape {
	return []shape{{"rollout", rollout}, {"node-drain", nodeDrain}, {"cronjob-minute", cronJobMinute}, {"cold-start", coldStart}}
}

// Names are the names that Named knows.
func Names() (names []string) {
	for _, s := range shapes() {
		names = append(names, s.name)
	}
	return names
}

// Named is a load that operators know by name, for a number of pods and a duration:
//
//   - rollout: a Deployment of size replicas is updated with maxSurge of 25 %, the default. A quarter of the pods is
//     created at once; the next quarter when these are ready, which takes a quarter of d.
//   - node-drain: nodes with size pods are drained. Four fifths are evicted and created anew at once, and the rest
//     evenly, as disruption budgets let them go.
//   - cronjob-minute: size Jobs begin at each full minute. As many pods again are created evenly meanwhile. The first
//     full minute comes after a third of d, or after 10 s if that is sooner.
//   - cold-start: a control plane comes back to size pods that want to be created. Half of them are at once, when the
//     controllers' queues are full, and the others at a rate that falls to zero over d.
//
// The size is between 1 and MaxSize, and d at least a second.
func Named(name string, size int, d time.Duration) (Schedule, error) {
	all := shapes()
	i := slices.IndexFunc(all, func(s shape) bool { return s.name == name })
	switch {
	case i < 0:
		return nil, fmt.Errorf("there is no shape %q, only %s", name, strings.Join(Names(), ", "))
	case size < 1 || size > MaxSize:
		return nil, fmt.Errorf("the size of a shape is between 1 and %d, not %d", MaxSize, size)
	case d < time.Second || d > MaxDuration:
		return nil, fmt.Errorf("a shape lasts between 1s and %s, not %s", MaxDuration, d)
	}
	s := all[i].make(size, d)
	return s, s.Validate()
}

func rollout(size int, d time.Duration) (s Schedule) {
	const waves = 4
	surge := (size + waves - 1) / waves
	if full := size / surge; full > 0 {
		s = append(s, Phase{Burst: surge, Every: d / waves, Duration: time.Duration(full) * (d / waves)})
	}
	if rest := size % surge; rest > 0 {
		s = append(s, Phase{Burst: rest, Duration: d / waves})
	}
	return s
}

func nodeDrain(size int, d time.Duration) Schedule {
	atOnce := (size*4 + 4) / 5
	s := Schedule{{Burst: atOnce, Duration: d / 10}}
	left := d - d/10
	return append(s, Phase{Duration: left, Rate: float64(size-atOnce) / left.Seconds()})
}

func cronJobMinute(size int, d time.Duration) Schedule {
	base := float64(size) / 60
	quiet := min(10*time.Second, d/3)
	s := Schedule{{Duration: quiet, Rate: base}}
	for left := d - quiet; left > 0; left -= time.Minute {
		s = append(s, Phase{Burst: size}, Phase{Duration: min(left, time.Minute), Rate: base})
	}
	return s
}

func coldStart(size int, d time.Duration) Schedule {
	atOnce := (size + 1) / 2
	return Schedule{{Burst: atOnce}, {Duration: d, Rate: 2 * float64(size-atOnce) / d.Seconds(), Ramp: true}}
}
