package proof

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// What follows says precisely why something was refused. None of it can accept anything.

const (
	noSCT    = "its certificate has no SCT of a trusted certificate transparency log"
	noEntry  = "it has no entry of a trusted log"
	badEntry = "its entry in a trusted log is not good"
)

// chainsTo finds the ways from the certificate of s to the material's authorities, by the time t.
func chainsTo(material root.TrustedMaterial, s *signed, t time.Time) ([][]*x509.Certificate, error) {
	for _, authority := range material.FulcioCertificateAuthorities() {
		if ca, ok := authority.(*root.FulcioCertificateAuthority); ok && len(s.intermediates) > 0 {
			with := *ca
			with.Intermediates = append(ca.Intermediates[:len(ca.Intermediates):len(ca.Intermediates)], s.intermediates...)
			authority = &with
		}
		if chains, err := authority.Verify(s.certificate, t); err == nil {
			return chains, nil
		}
	}
	return nil, errors.New("it was signed with a certificate of another authority")
}

// span says when a certificate is valid.
func span(c *x509.Certificate) string {
	return c.NotBefore.UTC().Format(time.RFC3339) + " to " + c.NotAfter.UTC().Format(time.RFC3339)
}

func validAt(c *x509.Certificate, t time.Time) bool {
	return !c.NotBefore.After(t) && !c.NotAfter.Before(t)
}

// anyChain tells why none of the roots has an authority that the certificate of s is of; nil if one has.
func (j *Judge) anyChain(s *signed) (other error) {
	for _, r := range j.roots {
		if _, other = chainsTo(r.Material(), s, s.certificate.NotBefore); other == nil {
			return nil
		}
	}
	return fmt.Errorf("%w (%s)", other, s.certificate.Issuer)
}

// whyNot says why the material does not vouch for e, whose signature is by its certificate. err is what sigstore-go says.
func (j *Judge) whyNot(s *signed, e *entity, material root.TrustedMaterial, err error) *Refusal {
	leaf := s.certificate
	chains, other := chainsTo(material, s, leaf.NotBefore)
	if other != nil {
		return invalid("%w (%s)", other, leaf.Issuer)
	}
	otherwise := invalid("%w", err)
	if j.trust.SCTs > 0 {
		if err := verify.VerifySignedCertificateTimestamp(chains, j.trust.SCTs, material); err != nil {
			otherwise = unvouched(noSCT)
		}
	}
	if onlyNow(j.trust) {
		if _, other := chainsTo(material, s, time.Now()); other != nil {
			return expired("its certificate is not valid now (%s)", span(leaf))
		}
		return otherwise
	}
	log := j.logged(e, material)
	stamps, _, _ := verify.VerifySignedTimestamp(e, material)
	times := log.times
	for _, stamp := range stamps {
		times = append(times, stamp.Time)
	}
	for _, t := range times {
		if !validAt(leaf, t) {
			return expired("it was made at %s, when its certificate was not valid (%s)", t.UTC().Format(time.RFC3339), span(leaf))
		}
	}
	switch {
	case log.broken != nil:
		return unvouched("%s: %w", badEntry, log.broken)
	case len(times) == 0:
		return expired("no entry of a trusted log and no timestamp of a trusted authority tells that its certificate was valid (%s)", span(leaf))
	}
	return j.whatIsMissing(log, len(stamps), otherwise)
}

// whyNotByKey says why the material does not vouch for e, which is by its key.
func (j *Judge) whyNotByKey(e *entity, material root.TrustedMaterial, err error) *Refusal {
	log := j.logged(e, material)
	if log.broken != nil {
		return unvouched("%s: %w", badEntry, log.broken)
	}
	stamps, _, _ := verify.VerifySignedTimestamp(e, material)
	return j.whatIsMissing(log, len(stamps), invalid("%w", err))
}

// whatIsMissing says what is missing of logs and timestamps; otherwise if nothing is.
func (j *Judge) whatIsMissing(log logged, stamps int, otherwise *Refusal) *Refusal {
	switch {
	case j.asksLogs() && !log.enough && log.known == 0:
		return unvouched(noEntry)
	case j.asksLogs() && !log.enough:
		return unvouched("it is in %d trusted logs, not %d", log.known, j.trust.Logs)
	case stamps < j.trust.Timestamps:
		return unvouched("it has timestamps of %d trusted authorities, not %d", stamps, j.trust.Timestamps)
	}
	return otherwise
}

// logged is what is known of the entries of a signature in trusted logs.
type logged struct {
	known  int         // entries that say they are of a trusted log
	times  []time.Time // that trusted logs promise
	enough bool        // they are what is asked for
	broken error       // why they are not, if they are the logs' word
}

func (j *Judge) logged(e *entity, material root.TrustedMaterial) (l logged) {
	if !j.asksLogs() {
		return l
	}
	logs := material.RekorLogs()
	for _, entry := range e.entries {
		if _, ok := logs[hex.EncodeToString([]byte(entry.LogKeyID()))]; !ok {
			continue
		}
		l.known++
		switch {
		case !entry.HasInclusionPromise():
		case tlog.VerifySET(entry, logs) == nil:
			l.times = append(l.times, entry.IntegratedTime())
		default:
			l.broken = errors.New("the log's promise is not by the log's key, or not for this entry")
		}
	}
	_, err := verify.VerifyTlogEntry(e, material, j.trust.Logs, true)
	l.enough = err == nil
	if l.broken == nil && l.known >= j.trust.Logs {
		l.broken = err
	}
	return l
}
