// Package wire turns the bytes of an ImageReview, or of an AdmissionReview, into the few fields a decision needs, and a
// decision into the bytes of a reply.
//
// It decides what a document says, the way Kubernetes reads one: field names are case-sensitive, unknown fields and
// the request's own status are ignored, of duplicate keys the last wins or the body is refused, and the whole document
// must be valid JSON (RFC 8259), ignored parts included. It trusts nothing in a body: depth, counts and what is kept
// between two bodies are bounded, the work is linear in the length, and no error repeats any of the content.
//
// It never judges what the fields say: whether kind and apiVersion are the right ones, whether there are containers
// and whether an image is named properly is for the caller. It uses no reflection, and nothing of Kubernetes.
package wire

import "strconv"

// MaxImages is the number of images that one object may have, counting containers without one. The apiserver takes pods
// of 3 MiB at most, and a container takes 28 bytes or more of that, so that no review it sends comes near.
const MaxImages = 1 << 17

// Review is what a decision needs of an ImageReview. The zero value is ready, and meant to be used again and again: a
// Review that has grown to the size of its bodies allocates nothing. It is not safe for concurrent use.
//
// The strings alias the body that was decoded, or memory of the Review itself. They are valid until the body is
// changed or the Review is used again, whichever is first; whoever keeps one longer clones it.
type Review struct {
	Kind       string
	APIVersion string
	Namespace  string
	Images     []string // one per container, in the order of the body; empty where the container has no image

	images []string // what Images shows, with the capacity that later reviews use
	lean   int      // see emptied
	reader
}

// Reset forgets the last review, so that nothing of its body is kept alive. The capacity stays, within bounds.
func (r *Review) Reset() {
	r.Kind, r.APIVersion, r.Namespace, r.Images = "", "", "", nil
	r.images = emptied(r.images, &r.lean)
	r.reader.reset()
}

// Decode reads a body into r, over whatever r held. Every error is a [*DecodeError] and leaves r empty.
//
// The body is written to: strings with escapes are unescaped where they stand. It is of no use as JSON afterwards, and
// belongs to r until r is used again. A body without a review of at least one container is no error.
//
// The rules are those of encoding/json for a struct of these fields: null leaves a string as it is and a list empty, a
// field of another type is an error, a second spec is laid over the first, bytes that are not UTF-8 and halves of
// surrogate pairs become U+FFFD. There are three differences. Names match in exact case only. The document must be an
// object. And a second containers replaces the first as a whole, where encoding/json lets fields of the first shine
// through. Beyond [MaxImages] containers, and beyond 1 MiB of strings that bytes which are not UTF-8 have made longer,
// the body is refused.
func (r *Review) Decode(body []byte) error {
	r.Reset()
	if r.read(body) < 0 {
		failure := r.failure
		r.Reset()
		return &failure
	}
	r.Images = r.images
	return nil
}

// What the apiserver writes around what differs from one review to another. Comparing it as a whole costs a tenth of
// reading it, and says the same. Any other writing is read member by member.
const (
	kind       = "ImageReview"
	apiVersion = "imagepolicy.k8s.io/v1alpha1"
	opening    = `{"kind":"` + kind + `","apiVersion":"` + apiVersion + `","metadata":{},"spec":{`
	openingOld = `{"kind":"` + kind + `","apiVersion":"` + apiVersion + `","metadata":{"creationTimestamp":null},"spec":{`
	container  = `{"image":"`
	closing    = `{"allowed":false}}` + "\n" // from the value of status on
)

// begins tells whether b has word at i.
func begins(b []byte, i int, word string) bool {
	return len(b)-i >= len(word) && string(b[i:i+len(word)]) == word
}

// read reads a whole body.
func (r *Review) read(b []byte) int {
	i := 0
	switch {
	case begins(b, 0, opening):
		i = len(opening)
	case begins(b, 0, openingOld):
		i = len(openingOld)
	}
	if i > 0 {
		r.Kind, r.APIVersion = kind, apiVersion
		if i = r.spec(b, i); i >= 0 {
			i = r.review(b, i, false)
		}
	} else if i = r.document(b); i >= 0 {
		i = r.review(b, i, true)
	}
	if i < 0 {
		return i
	}
	return r.end(b, i)
}

// review reads the outermost object from behind its brace, or from behind any of its members if first is false. So do
// the two below, the one from the brace and the other from behind a member.
func (r *Review) review(b []byte, i int, first bool) int {
	for ; ; first = false {
		key, value, more := r.member(b, i, first)
		if !more {
			return value
		}
		switch string(key) {
		case "kind":
			i = r.text(b, value, &r.Kind, "kind is not a string")
		case "apiVersion":
			i = r.text(b, value, &r.APIVersion, "apiVersion is not a string")
		case "spec":
			switch b[value] {
			case '{':
				i = r.spec(b, value+1)
			case 'n':
				i = r.literal(b, value, "null")
			default:
				i = r.fail(value, "spec is not an object")
			}
		case "status":
			if string(b[value:]) == closing {
				return len(b)
			}
			i = r.skip(b, value, 1)
		default:
			i = r.skip(b, value, 1)
		}
		if i < 0 {
			return i
		}
	}
}

func (r *Review) spec(b []byte, i int) int {
	for first := true; ; first = false {
		key, value, more := r.member(b, i, first)
		if !more {
			return value
		}
		switch string(key) {
		case "namespace":
			i = r.text(b, value, &r.Namespace, "spec.namespace is not a string")
		case "containers":
			i = r.containers(b, value)
		default:
			i = r.skip(b, value, 2)
		}
		if i < 0 {
			return i
		}
	}
}

// containers reads the list, in place of any that came before it.
func (r *Review) containers(b []byte, i int) int {
	clear(r.images) // nothing beyond the length may keep a body alive
	r.images = r.images[:0]
	switch b[i] {
	case '[':
	case 'n':
		return r.literal(b, i, "null")
	default:
		return r.fail(i, "spec.containers is not a list")
	}
	i++
	for first := true; ; first = false {
		value, more := r.element(b, i, first)
		if !more {
			return value
		}
		if len(r.images) == MaxImages {
			return r.fail(value, "there are more than "+strconv.Itoa(MaxImages)+" containers, which no pod can have")
		}
		image := ""
		switch {
		case begins(b, value, container):
			if i = r.text(b, value+len(container)-1, &image, ""); i >= 0 && (i >= len(b) || b[i] != '}') {
				i = r.container(b, i, false, &image)
			} else if i >= 0 {
				i++
			}
		case b[value] == '{':
			i = r.container(b, value+1, true, &image)
		case b[value] == 'n':
			i = r.literal(b, value, "null")
		default:
			i = r.fail(value, "a container is not an object")
		}
		if i < 0 {
			return i
		}
		r.images = append(r.images, image)
	}
}

func (r *Review) container(b []byte, i int, first bool, image *string) int {
	for ; ; first = false {
		key, value, more := r.member(b, i, first)
		if !more {
			return value
		}
		if string(key) == "image" {
			i = r.text(b, value, image, "the image of a container is not a string")
		} else {
			i = r.skip(b, value, 4)
		}
		if i < 0 {
			return i
		}
	}
}
