package workload

import (
	"math"
	"math/rand/v2"
)

// chooser picks numbers from 0 on, each as often as its weight says, in a time that does not depend on how many there
// are: the alias method of Walker (1974), in the form of Vose (1991).
type chooser struct {
	keep  []float64 // probability of staying with a column
	alias []uint32  // where to go otherwise
}

// newZipf is a chooser among n numbers, of which number i is picked in proportion to 1/(i+1)^exponent.
func newZipf(n int, exponent float64) *chooser {
	weights := make([]float64, n)
	for i := range weights {
		weights[i] = math.Pow(float64(i+1), -exponent)
	}
	return newChooser(weights)
}

func newChooser(weights []float64) *chooser {
	n := len(weights)
	c := &chooser{keep: make([]float64, n), alias: make([]uint32, n)}
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	var small, large []uint32
	for i, w := range weights {
		c.keep[i] = w / sum * float64(n)
		c.alias[i] = uint32(i)
		if c.keep[i] < 1 {
			small = append(small, uint32(i))
		} else {
			large = append(large, uint32(i))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		c.alias[s] = l
		if c.keep[l] -= 1 - c.keep[s]; c.keep[l] < 1 {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	// What is left over differs from 1 by rounding only. But a number without any weight is never to be picked.
	for _, i := range append(small, large...) {
		if weights[i] > 0 {
			c.keep[i] = 1
		}
	}
	return c
}

func (c *chooser) pick(r *rand.Rand) int {
	if len(c.keep) == 1 {
		return 0
	}
	i := r.IntN(len(c.keep))
	if r.Float64() < c.keep[i] {
		return i
	}
	return int(c.alias[i])
}
