package workload

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"sluice/bench"
)

// What surrounds the spec in what kube-apiserver sends: the plugin encodes a whole ImageReview, its empty status
// included, with encoding/json's Encoder, which ends with a line feed.
const (
	before = `{"kind":"ImageReview","apiVersion":"imagepolicy.k8s.io/v1alpha1","metadata":{},"spec":`
	behind = `,"status":{"allowed":false}}` + "\n"

	beforeContainers = `{"containers":[`
)

// tail is the end of a spec behind the containers: annotations and namespace.
type tail []byte

func newTails(o *Options) []tail {
	annotations := ""
	if o.Annotations > 0 {
		r := rand.New(rand.NewPCG(o.Seed, 0x616e6e6f74))
		written := make([]string, o.Annotations)
		for i := range written {
			written[i] = fmt.Sprintf(`"note-%d.image-policy.k8s.io/sluice-bench":"%s"`, i, words(r, o.AnnotationSize))
		}
		slices.Sort(written) // as encoding/json sorts the keys of a map; no key is the beginning of another
		annotations = `,"annotations":{` + strings.Join(written, ",") + `}`
	}
	tails := make([]tail, max(1, o.Namespaces))
	for i := range tails {
		namespace := "default"
		if len(tails) > 1 {
			namespace = fmt.Sprintf("bench-%d", i+1)
		}
		tails[i] = tail(fmt.Sprintf(`]%s,"namespace":"%s"}`, annotations, namespace))
	}
	return tails
}

// words makes up a text that JSON need not escape.
func words(r *rand.Rand, size int) string {
	text := make([]byte, size)
	for i := range text {
		text[i] = "abcdefghijklmnopqrstuvwxyz-"[r.IntN(27)]
	}
	return string(text)
}

// encode makes a review of images.
func encode(images []*image, end *tail) bench.Review {
	size := len(before) + len(beforeContainers) + len(images) + len(*end) + len(behind)
	for _, i := range images {
		size += len(i.container)
	}
	body := make([]byte, 0, size)
	body = append(body, before...)
	body = append(body, beforeContainers...)
	expect := bench.ExpectAllow
	for n, i := range images {
		if n > 0 {
			body = append(body, ',')
		}
		body = append(body, i.container...)
		expect = both(expect, i.expect)
	}
	body = append(body, *end...)
	key := string(body[len(before):])
	return bench.Review{Body: append(body, behind...), Key: key, Deny: expect}
}

// both is what to expect of a review that holds what a and b are expected of: one denied image denies it, and one that
// nothing is known of leaves it open.
func both(a, b bench.Expectation) bench.Expectation {
	switch {
	case a == bench.ExpectDeny || b == bench.ExpectDeny:
		return bench.ExpectDeny
	case a == bench.Unknown || b == bench.Unknown:
		return bench.Unknown
	}
	return bench.ExpectAllow
}

// appendString appends a string as encoding/json writes it, which escapes <, > and & as well.
func appendString(to []byte, s string) []byte {
	written, err := json.Marshal(s)
	if err != nil { // strings can always be written
		return append(to, `""`...)
	}
	return append(to, written...)
}
