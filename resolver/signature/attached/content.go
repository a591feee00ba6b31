package attached

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"sluice/engine"
)

// fetchContent fills in the content of all, or why there is none. Each blob is fetched once, however many items are made
// of it: that is what several keys signing one image look like. One that lies about the blob's size shares only with
// those that tell the same lie. Room goes to the smallest first, so that a few that are large do not leave the others
// without.
func (s *search) fetchContent(ctx context.Context, all []*candidate) {
	type blob struct {
		digest engine.Digest
		size   int64
	}
	var (
		first = make(map[blob]*candidate, len(all))
		jobs  []*candidate
	)
	for _, c := range all {
		if c.Fault != nil || c.Failure != nil {
			continue
		}
		if limit := c.limit(); c.size > limit {
			c.Failure = tooLarge(limit)
			continue
		}
		if at := (blob{c.Blob, c.size}); first[at] == nil {
			first[at] = c
			jobs = append(jobs, c)
		}
	}
	slices.SortStableFunc(jobs, func(a, b *candidate) int { return cmp.Compare(a.size, b.size) })
	budget := int64(maxContent)
	for i, c := range jobs {
		if budget -= c.size; budget < 0 {
			for _, c := range jobs[i:] {
				c.Failure = tooLarge(c.limit())
			}
			jobs = jobs[:i]
			break
		}
	}
	sideBySide(len(jobs), func(i int) { s.fetchOne(ctx, jobs[i]) })
	for _, c := range all {
		if c.Fault != nil || c.Failure != nil {
			continue
		}
		if of := first[blob{c.Blob, c.size}]; of != c {
			c.Content, c.Failure, c.Fault = of.Content, of.Failure, of.Fault
		}
	}
}

// limit is how large the content may be.
func (c *candidate) limit() int64 {
	if c.Form == SimpleSigning {
		return maxPayload
	}
	return maxStatement
}

func tooLarge(limit int64) *engine.Failure {
	return malformed(nil, "a signature or attestation is too large (over %d KiB, or %d for all)", limit>>10, maxContent>>10)
}

// fetchOne fetches the content of one item. A panic below it is a failure.
func (s *search) fetchOne(ctx context.Context, c *candidate) {
	defer func() {
		if f := recovered(recover()); f != nil {
			c.Failure = f
		}
	}()
	content, err := s.f.Blob(ctx, s.at, c.Blob, c.size)
	switch {
	case notFound(err): // which would be taken for the image's own absence
		c.Failure = malformed(err, "the registry has a signature but not its content")
	case err != nil:
		c.Failure = asFailure(err)
	case int64(len(content)) != c.size:
		c.Fault = fmt.Errorf("its content has %d bytes, not %d", len(content), c.size)
	default:
		c.Content = content
	}
}
