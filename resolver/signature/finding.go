package signature

import (
	"time"

	"sluice/engine"
	"sluice/resolver/signature/attached"
)

// Finding is one step of a verification, for people who ask why it ended as it did: one thing that was judged, or a
// place that had nothing or could not be looked at.
type Finding struct {
	Authority *engine.Authority // for whom it was judged; authorities with equal Trust share what comes of it
	Image     engine.Reference  // what is verified
	Ref       engine.Reference  // where it was looked for: the image's own repository or the authority's, and the digest
	Place     attached.Place

	Item      *attached.Item   // what was judged; nil if the finding is about the whole place
	Signature engine.Signature // what Item has been proved to say; the zero value if Err is set

	// Err is why Item is no valid signature: a *proof.Refusal, or what made it unfit before it was judged, or the
	// *engine.Failure for which it could not be had. For a place it is a *engine.Failure: what it failed with, or
	// ReasonSignatureMissing or ReasonAttestationMissing if there is nothing in it.
	Err error

	Took time.Duration // to judge the item, or to look at the place
}

// observe reports a finding, if anyone asks.
func (s *search) observe(f Finding) {
	if s.v.opts.Observe == nil {
		return
	}
	f.Authority, f.Image, f.Ref = s.authority, s.image, s.at
	s.v.opts.Observe(f)
}
