package attached

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"sluice/engine"
	"sluice/resolver"
)

// referrers lists the manifests that name the digest as their subject, and reads the layers of those that are looked
// at. Those that hold no items are the business of other tools. One that is not looked at counts as one item, since it
// might be one.
func (s *search) referrers(ctx context.Context) (*Found, error) {
	at := s.at
	at.Digest = s.digest
	list, err := s.f.Referrers(ctx, at)
	if err != nil {
		f := asFailure(err)
		if f.Reason == engine.ReasonImageNotFound { // which would be taken for the image's own absence
			f = malformed(err, "the registry did not list referrers")
		}
		return nil, f
	}
	found := &Found{Where: "referrers"}
	jobs, left := rank(list.Descriptors)
	groups := s.fetchManifests(ctx, jobs)
	for i, g := range groups {
		if jobs[i].skipped {
			left++
		}
		found.Total += len(g)
	}
	found.Total += left + max(0, list.Total-len(list.Descriptors))
	s.fill(ctx, found, choose(groups))
	return found, nil
}

// referrer is one manifest to look at.
type referrer struct {
	resolver.Descriptor
	skipped bool // since enough had been read
}

// rank returns which referrers to look at, and how many remain: first those that look like what sigstore's tools write,
// then the others, which have a quarter of the room for themselves, since the tools disagree on what that is. Where
// there are too many of a kind, these are its first and its last, for the reasons of choose.
func rank(all []resolver.Descriptor) (jobs []*referrer, left int) {
	var kinds [2][]*referrer
	seen := make(map[engine.Digest]bool, len(all))
	for _, d := range all {
		if seen[d.Digest] {
			continue
		}
		seen[d.Digest] = true
		kind := 1
		if likely(d) {
			kind = 0
		}
		kinds[kind] = append(kinds[kind], &referrer{Descriptor: d})
	}
	others := min(len(kinds[1]), maxReferrers/4)
	for i, room := range [...]int{maxReferrers - others, maxReferrers} {
		k := kinds[i]
		n := min(room-len(jobs), len(k))
		jobs = append(jobs, k[:n-n/2]...)
		jobs = append(jobs, k[len(k)-n/2:]...)
		left += len(k) - n
	}
	return jobs, left
}

// likely tells whether a descriptor looks like one that cosign, or another of sigstore's tools, has written.
func likely(d resolver.Descriptor) bool {
	t := d.ArtifactType
	return strings.HasPrefix(t, bundleType) ||
		strings.HasPrefix(t, "application/vnd.dev.cosign.") ||
		t == envelopeType ||
		t == "application/vnd.in-toto+json" ||
		d.Annotations["dev.sigstore.bundle.content"] != ""
}

// fetchManifests reads the manifests, and returns what each holds. It begins with those that say they are small, so that
// a few that are large do not leave the others unread.
func (s *search) fetchManifests(ctx context.Context, jobs []*referrer) [][]*candidate {
	groups := make([][]*candidate, len(jobs))
	order := make([]int, len(jobs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(jobs[a].Size, jobs[b].Size) })
	var read atomic.Int64
	sideBySide(len(jobs), func(n int) {
		i := order[n]
		where := fmt.Sprintf("referrer sha256:%.12s…", jobs[i].Digest.Hex())
		defer func() {
			if f := recovered(recover()); f != nil {
				groups[i] = unknown(where, f)
			}
		}()
		if jobs[i].skipped = read.Load() >= enoughReferrers; jobs[i].skipped {
			return
		}
		groups[i] = s.fetchManifest(ctx, jobs[i], where, &read)
	})
	return groups
}

// unknown stands for a manifest that could not be had.
func unknown(where string, f *engine.Failure) []*candidate {
	return []*candidate{{Item: Item{Found: where, Failure: f}}}
}

func (s *search) fetchManifest(ctx context.Context, r *referrer, where string, read *atomic.Int64) []*candidate {
	if r.Size > maxReferrer {
		return unknown(where, malformed(nil, "a referrer is too large (over %d KiB)", maxReferrer>>10))
	}
	at := s.at
	at.Digest = r.Digest
	m, err := s.f.Manifest(ctx, at)
	read.Add(int64(len(m.Raw)))
	switch {
	case notFound(err): // which would be taken for the image's own absence
		return unknown(where, malformed(err, "the registry lists a referrer that it has not"))
	case err != nil:
		return unknown(where, asFailure(err))
	case len(m.Raw) > maxReferrer:
		return unknown(where, malformed(nil, "a referrer is too large (over %d KiB)", maxReferrer>>10))
	}
	doc, f := parseManifest(m.Raw)
	if f != nil {
		return unknown(where, f)
	}
	all := doc.candidates(where)
	if doc.Subject.digest != s.digest {
		for _, c := range all {
			c.Fault = fmt.Errorf("its manifest is not about the image, but about %.80q", doc.Subject.digest)
		}
	}
	return all
}
