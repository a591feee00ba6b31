package workload

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"

	"sluice/bench"
)

// maxReference bounds a reference in a list or a pattern, in bytes. Kubernetes has no such bound.
const maxReference = 64 << 10

// image is one that reviews ask for.
type image struct {
	container []byte // {"image":"…"}
	expect    bench.Expectation
}

// reference is a line of a list of images.
type reference struct {
	name   string
	expect bench.Expectation
}

func newImage(name string, expect bench.Expectation) image {
	return image{expect: expect, container: append(appendString([]byte(`{"image":`), name), '}')}
}

// population is the images of one kind, the most popular first.
type population struct {
	images  []image
	popular *chooser
}

func newPopulation(text string, expect bench.Expectation, o *Options) (*population, error) {
	pattern, err := parsePattern(text, o.Seed)
	if err != nil {
		return nil, err
	}
	if o.Images > 1 && !pattern.numbered() {
		return nil, fmt.Errorf("%s: %d images need {n} in their pattern", text, o.Images)
	}
	p := &population{images: make([]image, o.Images), popular: newZipf(o.Images, o.Zipf)}
	draw := rand.New(rand.NewPCG(o.Seed, 0x646967657374)) // of its own, so that other options do not move the digests
	for i := range p.images {
		name := pattern.number(i + 1)
		if draw.Float64() < o.Digests {
			name = byDigest(name)
		}
		p.images[i] = newImage(name, expect)
	}
	return p, nil
}

func listedPopulation(listed []reference, o *Options) *population {
	p := &population{images: make([]image, len(listed)), popular: newZipf(len(listed), o.Zipf)}
	for i, l := range listed {
		p.images[i] = newImage(l.name, l.expect)
	}
	return p
}

// byDigest names an image by a digest, made up from its reference, instead of its tag.
func byDigest(tagged string) string {
	name, _, _ := strings.Cut(tagged, "@")
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		name = name[:colon]
	}
	return fmt.Sprintf("%s@sha256:%x", name, sha256.Sum256([]byte(tagged)))
}

// pattern is what references are made from: the text between the places where a number belongs.
type pattern []string

func parsePattern(text string, seed uint64) (pattern, error) {
	if err := checkReference(text); err != nil {
		return nil, fmt.Errorf("pattern %.200q: %w", text, err)
	}
	text = strings.ReplaceAll(text, "{seed}", strconv.FormatUint(seed, 10))
	return strings.Split(text, "{n}"), nil
}

func (p pattern) numbered() bool { return len(p) > 1 }

func (p pattern) number(n int) string { return strings.Join(p, strconv.Itoa(n)) }

// checkReference asks what Kubernetes asks of an image, and a bound.
func checkReference(name string) error {
	switch {
	case strings.TrimSpace(name) != name:
		return errors.New("a reference has no space at either end")
	case name == "":
		return errors.New("a reference is missing")
	case len(name) > maxReference:
		return fmt.Errorf("a reference has more than %d bytes", maxReference)
	}
	return nil
}

// readList reads a file of references.
func readList(name string) ([]reference, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var listed []reference
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxReference+1024)
	n := 0
	for lines.Scan() {
		n++
		text, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(text)
		if len(fields) == 0 {
			continue
		}
		expect := bench.Unknown
		switch {
		case len(fields) == 1:
		case len(fields) == 2 && fields[1] == "allow":
			expect = bench.ExpectAllow
		case len(fields) == 2 && fields[1] == "deny":
			expect = bench.ExpectDeny
		default:
			return nil, fmt.Errorf("%s:%d: a line is a reference with nothing, allow or deny behind it", name, n)
		}
		if err := checkReference(fields[0]); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
		if len(listed) == MaxImages {
			return nil, fmt.Errorf("%s:%d: a list has up to %d images", name, n, MaxImages)
		}
		listed = append(listed, reference{fields[0], expect})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", name, n+1, err)
	}
	if len(listed) == 0 {
		return nil, fmt.Errorf("%s: no image is in the list", name)
	}
	return listed, nil
}
