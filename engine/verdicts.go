package engine

import (
	"unique"
	"unsafe"

	"sluice/cache"
)

// verdictKey is what a verdict depends on: the rules for the namespace, what is asked by them and with whose access, and
// the image as it was sent. The cache compares the whole of it on every hit: an unkeyed hash alone could be brought to
// collide by a pod's author.
type verdictKey struct {
	view  unique.Handle[[32]byte] // the whole fingerprint: equal if, and only if, those are
	image string
}

// newVerdicts makes the cache of verdicts, for so many entries, or, if most bytes is set, for what fits in there.
func newVerdicts(entries, bytes int64) (*cache.Cache[verdictKey, *Verdict], error) {
	o := cache.Options[verdictKey, *Verdict]{MaxCost: entries, Cost: verdictCost, Entries: entries}
	if bytes > 0 {
		o.MaxCost, o.Cost, o.Entries = bytes, verdictBytes, max(bytes/usualVerdict, 1)
	}
	return cache.New(o)
}

// usualVerdict is about what the verdict on an allowed image of 60 bytes takes, by verdictBytes and by TestVerdictBytes,
// which measures it.
const usualVerdict = 540

// verdictCost counts a verdict as one, and one more for each KiB of its text: a pod's author chooses how long an image
// string is, and a denial repeats it.
func verdictCost(k verdictKey, v *Verdict) int64 {
	return 1 + int64(len(k.image)+len(v.Message())+len(v.Detail()))>>10
}

// verdictBytes is about how much memory a verdict takes that is remembered, what finds it included.
func verdictBytes(k verdictKey, v *Verdict) int64 {
	n := cache.Overhead[verdictKey, *Verdict]() + int64(unsafe.Sizeof(*v)) + text(len(k.image)) + text(len(v.Rewrite))
	if v.shape()&shapePinned == 0 {
		n += text(len(v.Digest))
	}
	if v.words != nil {
		n += int64(unsafe.Sizeof(*v.words)) + text(len(v.words.message)) + text(len(v.words.detail))
	}
	return n
}

// text is what the allocator takes for so many bytes of text, or a little less.
func text(n int) int64 { return int64(n+15) &^ 15 }
