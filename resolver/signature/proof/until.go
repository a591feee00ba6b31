package proof

import (
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// chainsUntil is until when the certificate of s goes on to be valid, by the ways to the material's authorities that there
// are at the time now: each is as long as the first of its certificates to end, and the longest counts. It is never
// later than what a judgement anew would accept.
func chainsUntil(material root.TrustedMaterial, s *signed, now time.Time) time.Time {
	until := now
	chains, err := chainsTo(material, s, now)
	if err != nil {
		return until
	}
	for _, chain := range chains {
		ends := s.certificate.NotAfter
		for _, c := range chain {
			if c.NotAfter.Before(ends) {
				ends = c.NotAfter
			}
		}
		if ends.After(until) {
			until = ends
		}
	}
	for _, authority := range material.FulcioCertificateAuthorities() {
		ca, ok := authority.(*root.FulcioCertificateAuthority)
		if ok && !ca.ValidityPeriodEnd.IsZero() && ca.ValidityPeriodEnd.After(now) && ca.ValidityPeriodEnd.Before(until) {
			until = ca.ValidityPeriodEnd
		}
	}
	return until
}
