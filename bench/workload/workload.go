// Package workload makes the reviews of a load, as kube-apiserver's ImagePolicyWebhook plugin would encode them.
//
// It decides which images, annotations and namespaces the reviews hold, and in which order they come: from its options
// and a seed alone, so that two runs with the same options send the same bytes. It reads the files that it is given the
// names of, within bounds, and nothing else; it never asks anyone whether an image exists. What it expects of a verdict is
// what its options say, and is no more true than they are.
package workload

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"sluice/bench"
)

// Bounds of the options, so that what is prepared fits into memory.
const (
	MaxImages         = 1_000_000
	MaxContainers     = 10_000
	MaxAnnotations    = 1_000
	MaxAnnotationSize = 1 << 20 // bytes of one value
	MaxNamespaces     = 100_000
)

// Patterns of image references, where the options name none.
const (
	DefaultAllowed = "registry.example.com/team/app-{n}:v1"
	DefaultDenied  = "registry.example.com/denied/app-{n}:v1"
	DefaultUnique  = "registry.example.com/team/new:{seed}-{n}"
)

// Options say what the reviews are like. The zero value is a review of one container with one image.
type Options struct {
	Seed uint64

	// Images is how many different ones there are of each kind; 0 means 1, or all of List. Zipf is how unevenly they are
	// asked for: image n is asked for in proportion to 1/n^Zipf, so 0 is evenly, and about 1 is what registries see.
	Images int
	Zipf   float64

	// Allowed and Denied are patterns of references; {n} stands for the number of the image, from 1 on. Deny is the share
	// of reviews, from 0 to 1, in which one image is a denied one. Without such images a review is expected to be allowed.
	Allowed, Denied string
	Deny            float64
	// Digests is the share of images that are named by digest instead of tag. The digests are made up.
	Digests float64

	// Unique is the share of reviews, from 0 to 1, in which one image was never there before, so that no cache can know
	// it. UniqueImage is the pattern of those; {n} counts them and {seed} is the seed: a server that has seen one run
	// needs another seed to be asked for something new.
	Unique      float64
	UniqueImage string

	// List is a file of references instead of Allowed and Denied, the most popular first: one a line, with "allow" or
	// "deny" behind it where the verdict is known, and comments from # on.
	List string

	// A review has between Containers and MaxContainers containers, each number as likely as the others; 0 means 1, and
	// no range. Weights, if there are any, say instead how likely 1, 2, 3 … containers are, in proportion.
	Containers, MaxContainers int
	Weights                   []float64

	// Annotations is how many of them each review has, with values of AnnotationSize bytes, the same in all reviews.
	Annotations, AnnotationSize int
	// Namespaces is how many there are, each as likely as the others; up to 1, it is "default".
	Namespaces int

	// Recorded is a file or a folder of recorded ImageReviews, which are sent again and again instead of made-up ones: in
	// order, the files sorted by name, or Shuffle. List may say what to expect; nothing else above applies but Seed.
	Recorded string
	Shuffle  bool
}

// Source makes reviews. It is a bench.Workload.
type Source struct {
	o    Options
	rand *rand.Rand

	recorded *recording // or else:

	allowed, denied *population
	unique          pattern
	counter         int
	containers      *chooser // minus least
	least           int
	rest            []tail     // of the spec, by namespace
	ready           [][]single // reviews with one container, by namespace and image; nil where there are too many

	picked []*image // of the review that is being made
}

// maxReady bounds how many reviews are kept ready, at 0.7 kB each.
const maxReady = 1 << 15

// single is a review with one container, made when it is first asked for.
type single struct {
	made bool
	bench.Review
}

// New checks the options, reads the files that they name, and prepares what can be prepared. The same options make the
// same reviews.
func New(o Options) (*Source, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	s := &Source{o: o, rand: rand.New(rand.NewPCG(o.Seed, 0x736c75696365))}
	var listed []reference
	if o.List != "" {
		var err error
		if listed, err = readList(o.List); err != nil {
			return nil, err
		}
	}
	if o.Recorded != "" {
		var err error
		if s.recorded, err = readRecorded(o.Recorded, listed); err == nil && o.Shuffle {
			s.recorded.shuffle(s.rand)
		}
		return s, err
	}
	if err := s.prepare(listed); err != nil {
		return nil, err
	}
	return s, nil
}

func (o *Options) complete() error {
	o.Allowed, o.Denied, o.UniqueImage = or(o.Allowed, DefaultAllowed), or(o.Denied, DefaultDenied), or(o.UniqueImage, DefaultUnique)
	if o.Images == 0 && o.List == "" {
		o.Images = 1
	}
	if o.Containers == 0 {
		o.Containers = 1
	}
	if o.MaxContainers == 0 {
		o.MaxContainers = o.Containers
	}
	share := func(f float64) bool { return f >= 0 && f <= 1 }
	switch {
	case o.Images < 0 || o.Images > MaxImages:
		return fmt.Errorf("there can be between 1 and %d images, not %d", MaxImages, o.Images)
	case !(o.Zipf >= 0 && o.Zipf <= 10):
		return fmt.Errorf("the exponent of Zipf's law is between 0 and 10, not %v", o.Zipf)
	case !share(o.Deny) || !share(o.Digests) || !share(o.Unique) || o.Deny+o.Unique > 1:
		return errors.New("the shares of denials, digests and unique images are between 0 and 1, and denials and unique images together too")
	case o.Containers < 1 || o.MaxContainers < o.Containers || o.MaxContainers > MaxContainers || len(o.Weights) > MaxContainers:
		return fmt.Errorf("a review has between 1 and %d containers", MaxContainers)
	case len(o.Weights) > 0 && o.MaxContainers > 1:
		return errors.New("containers are given either as a range or as weights")
	case o.Annotations < 0 || o.Annotations > MaxAnnotations || o.AnnotationSize < 0 || o.AnnotationSize > MaxAnnotationSize:
		return fmt.Errorf("a review has up to %d annotations of up to %d bytes", MaxAnnotations, MaxAnnotationSize)
	case o.Namespaces < 0 || o.Namespaces > MaxNamespaces:
		return fmt.Errorf("there can be up to %d namespaces, not %d", MaxNamespaces, o.Namespaces)
	case max(1, o.Namespaces)*o.Annotations*o.AnnotationSize > maxRead:
		return fmt.Errorf("the annotations take up more than %d bytes in all namespaces together", maxRead)
	case o.Recorded == "" && o.Shuffle:
		return errors.New("only recorded reviews can be shuffled")
	case o.List != "" && o.Deny > 0:
		return errors.New("with a list of images, the share of denials is what the list makes it")
	case o.List != "" && o.Digests > 0:
		return errors.New("with a list of images, the list has their digests")
	}
	return weightsOK(o.Weights)
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func weightsOK(weights []float64) error {
	sum := 0.0
	for _, w := range weights {
		if !(w >= 0 && w <= 1e9) {
			return fmt.Errorf("a weight is between 0 and 1e9, not %v", w)
		}
		sum += w
	}
	if len(weights) > 0 && sum == 0 {
		return errors.New("all weights are 0")
	}
	return nil
}

func (s *Source) prepare(listed []reference) error {
	o := &s.o
	var err error
	if listed != nil {
		if o.Images > len(listed) {
			return fmt.Errorf("%s has %d images, not %d", o.List, len(listed), o.Images)
		} else if o.Images > 0 {
			listed = listed[:o.Images]
		}
		o.Images = len(listed)
		s.allowed = listedPopulation(listed, o)
	} else if s.allowed, err = newPopulation(o.Allowed, bench.ExpectAllow, o); err != nil {
		return err
	}
	if o.Deny > 0 {
		if s.denied, err = newPopulation(o.Denied, bench.ExpectDeny, o); err != nil {
			return err
		}
	}
	if o.Unique > 0 {
		if s.unique, err = parsePattern(o.UniqueImage, o.Seed); err != nil {
			return err
		} else if !s.unique.numbered() {
			return fmt.Errorf("%s: unique images need {n} in their pattern", o.UniqueImage)
		}
	}
	s.least = o.Containers
	if len(o.Weights) > 0 {
		s.least, s.containers = 1, newChooser(o.Weights)
	} else if o.MaxContainers > o.Containers {
		s.containers = newZipf(o.MaxContainers-o.Containers+1, 0)
	}
	s.rest = newTails(o)
	if n := len(s.rest) * len(s.allowed.images); n <= maxReady && s.least == 1 && o.Annotations*o.AnnotationSize <= 1024 {
		s.ready = make([][]single, len(s.rest))
		for i := range s.ready {
			s.ready[i] = make([]single, len(s.allowed.images))
		}
	}
	return nil
}

// Next makes the next review. What it returned before stays as it was.
func (s *Source) Next() bench.Review {
	if s.recorded != nil {
		return s.recorded.next()
	}
	n := s.least
	if s.containers != nil {
		n += s.containers.pick(s.rand)
	}
	ns := 0
	if len(s.rest) > 1 {
		ns = s.rand.IntN(len(s.rest))
	}
	kind := 1.0
	if s.o.Deny+s.o.Unique > 0 {
		kind = s.rand.Float64()
	}
	special := kind < s.o.Deny+s.o.Unique
	if n == 1 && !special && s.ready != nil {
		i := s.allowed.popular.pick(s.rand)
		ready := &s.ready[ns][i]
		if !ready.made {
			s.picked = append(s.picked[:0], &s.allowed.images[i])
			ready.made, ready.Review = true, encode(s.picked, &s.rest[ns])
		}
		return ready.Review
	}
	s.picked = s.picked[:0]
	for range n {
		s.picked = append(s.picked, &s.allowed.images[s.allowed.popular.pick(s.rand)])
	}
	if special {
		at := s.rand.IntN(n)
		if kind < s.o.Deny {
			s.picked[at] = &s.denied.images[s.denied.popular.pick(s.rand)]
		} else {
			s.counter++
			fresh := newImage(s.unique.number(s.counter), bench.ExpectAllow)
			s.picked[at] = &fresh
		}
	}
	return encode(s.picked, &s.rest[ns])
}

// String describes the reviews in words.
func (s *Source) String() string {
	o := &s.o
	if s.recorded != nil {
		order := "in order"
		if o.Shuffle {
			order = "shuffled"
		}
		if n := len(s.recorded.reviews); n != 1 {
			return fmt.Sprintf("%d recorded reviews, %s", n, order)
		}
		return "1 recorded review"
	}
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	switch {
	case o.Images == 1:
		add("1 image")
	case o.Zipf == 0:
		add("%d images, evenly", o.Images)
	default:
		add("%d images, Zipf %v", o.Images, o.Zipf)
	}
	if o.List != "" {
		add("from a list")
	}
	switch {
	case len(o.Weights) > 0:
		add("%d to %d containers, weighted", 1, len(o.Weights))
	case o.MaxContainers > o.Containers:
		add("%d to %d containers", o.Containers, o.MaxContainers)
	case o.Containers == 1:
		add("1 container")
	default:
		add("%d containers", o.Containers)
	}
	percent := func(what string, share float64) {
		if share > 0 {
			add("%v %% %s", math.Round(share*1e4)/100, what)
		}
	}
	percent("by digest", o.Digests)
	percent("with a denied image", o.Deny)
	percent("with an image never seen before", o.Unique)
	if o.Annotations > 0 {
		add("%d annotations of %d bytes", o.Annotations, o.AnnotationSize)
	}
	if o.Namespaces > 1 {
		add("%d namespaces", o.Namespaces)
	}
	return strings.Join(parts, ", ")
}
