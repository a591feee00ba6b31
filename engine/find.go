package engine

import (
	"hash/maphash"
	"math/bits"
)

// Find returns the verdict on an image of the request, by the string that stands there; nil if there is none. It takes
// the same time for each of thousands.
func (r *Result) Find(image string) *Verdict {
	if len(r.verdicts) > fewVerdicts {
		return r.byImage.find(r.verdicts, image)
	}
	for _, v := range r.verdicts {
		if v.Image == image {
			return v
		}
	}
	return nil
}

// byImage finds verdicts in a list of many by their images. The zero value is ready. Its table is filled by the first
// to look something up, since most never do.
type byImage struct {
	seed   maphash.Seed
	places []uint32 // 1 + the place in the list, by the image's hash; 0 is free. len is 0 or a power of two
	listed int      // how many of the list are in places
}

func (t *byImage) clear() {
	if t.listed > 0 {
		clear(t.places)
		t.listed = 0
	}
}

// find returns the first verdict on image in the list, or nil. Since the last call, the list may have grown.
func (t *byImage) find(list []*Verdict, image string) *Verdict {
	if 2*len(list) > len(t.places) {
		t.seed = maphash.MakeSeed()
		t.places, t.listed = make([]uint32, 1<<bits.Len(uint(4*len(list)-1))), 0
	}
	for ; t.listed < len(list); t.listed++ {
		if i := t.place(list, list[t.listed].Image); t.places[i] == 0 {
			t.places[i] = uint32(t.listed + 1)
		}
	}
	if i := t.places[t.place(list, image)]; i != 0 {
		return list[i-1]
	}
	return nil
}

// place returns the index in places at which the verdict on image is, or belongs. At least half of them are free.
func (t *byImage) place(list []*Verdict, image string) uint64 {
	last := uint64(len(t.places) - 1)
	i := maphash.String(t.seed, image) & last
	for t.places[i] != 0 && list[t.places[i]-1].Image != image {
		i = (i + 1) & last
	}
	return i
}
