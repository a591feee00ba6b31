package e2e

import (
	"fmt"
	"time"
)

// ownPKIRows are by certificates of one's own.
func ownPKIRows() []row {
	of := func(f form, on, what string, attach func(s *signing), p policy, t twin) row {
		return row{form: f, by: build + ", own PKI", what: what, on: on, attach: attach, policy: p, twin: t}
	}
	own := func(f form, address string, ends func() time.Time) func(s *signing) {
		return signs(f, byCertificate(trusted, address, ends))
	}
	stamped := func(f form, ends func() time.Time) func(s *signing) {
		return signs(f, byCertificateTimestamped(trusted, build, ends))
	}
	plain := requires(certificateOf(build))
	withTime := requires(certificateOf(build), timestamp("tsa"))
	scanned := requires(certificateOf(build), vuln.required())
	const signature, time = "signature", "signature, timestamp"
	return []row{
		of(classic, fallbackTag, signature, own(classic, build, inADay), plain, twin{
			is: "an expired certificate, without a timestamp", attach: own(classic, build, anHourAgo),
			reason: "signature_expired", why: notNow,
		}),
		of(classic, referrersAPI, signature, own(classic, build, inADay), plain, twin{
			is: "another authority of the same name", attach: signs(classic, byCertificate(untrusted, build, inADay)),
			reason: "signature_invalid", why: otherCA,
		}),
		of(classic, fallbackTag, vuln.kind, attests(classic, byCertificate(trusted, build, inADay), vuln), scanned, twin{
			is: "look-alike " + lookAlike, attach: attests(classic, byCertificate(trusted, lookAlike, inADay), vuln),
			reason: "identity_mismatch",
		}),
		of(classic, referrersAPI, time, stamped(classic, inADay), withTime, twin{
			is: "stamped after the certificate's end", attach: stamped(classic, anHourAgo),
			reason: "signature_expired", why: notThen,
		}),
		of(classic, fallbackTag, time+", certificate expired since", func(s *signing) { s.expiredSince(classic) }, withTime, twin{
			is: "no timestamp asked for", policy: &plain, reason: "signature_expired", why: notNow,
		}),
		of(bundle3Unchecked, fallbackTag, signature, own(bundle3Unchecked, build, inADay), plain, twin{
			is: "another address", attach: own(bundle3Unchecked, stranger, inADay), reason: "identity_mismatch",
		}),
		of(bundle3Unchecked, referrersAPI, time, stamped(bundle3Unchecked, inADay), withTime, twin{
			is: "without a timestamp", attach: own(bundle3Unchecked, build, inADay),
			reason: "signature_expired", why: nobodyVouches,
		}),
	}
}

// certificateOf asks for a certificate of one's own.
func certificateOf(address string) field {
	return func(m *matrix) string {
		return fmt.Sprintf("certificate: {roots: {file: %q}, identities: [{subject: %q}]}", m.pki.roots(), address)
	}
}

// expiredSince signs with a certificate that is about to end, and returns when it has. On a machine that is too slow for
// it, a certificate that lives longer is tried.
func (s *signing) expiredSince(f form) {
	s.Helper()
	for life := 5 * time.Second; ; life *= 2 {
		end := time.Now().Add(life).Truncate(time.Second)
		trial := image{s.image.repository + "/trial-" + life.String(), s.image.digest}
		copyImage(s, s.image.byDigest(), trial.tag("1"))
		s.sign(f, byCertificateTimestamped(trusted, build, func() time.Time { return end }), trial)
		if time.Now().After(end) {
			continue
		}
		copyImage(s, trial.signatures(), s.image.signatures())
		<-time.After(time.Until(end.Add(time.Second)))
		return
	}
}
