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

// What follows says precisely why an item was refused. None of it can accept anything.

// chains finds the way from a certificate to the root, by the time t.
func (r *rooted) chains(leaf *x509.Certificate, intermediates []*x509.Certificate, t time.Time) ([][]*x509.Certificate, error) {
	for _, authority := range r.root.Material().FulcioCertificateAuthorities() {
		if ca, ok := authority.(*root.FulcioCertificateAuthority); ok && len(intermediates) > 0 {
			with := *ca
			with.Intermediates = append(ca.Intermediates[:len(ca.Intermediates):len(ca.Intermediates)], intermediates...)
			authority = &with
		}
		if chains, err := authority.Verify(leaf, t); err == nil {
			return chains, nil
		}
	}
	return nil, errors.New("it was signed with a certificate of another authority")
}

// otherClaim refuses what is not over a claim for the image: as such if a trusted authority's certificate says so.
func (j *Judge) otherClaim(s *signed, err error) *Refusal {
	for _, r := range j.roots {
		if _, other := r.chains(s.certificate, s.intermediates, s.certificate.NotBefore); other == nil {
			return mismatch("signed with a trusted certificate, but not for this image: %w", err)
		}
	}
	return invalid("it was signed with a certificate of another authority, and not for this image: %w", err)
}

// whyNot says why r does not vouch for e, whose signature is right. err is what sigstore-go says.
func (j *Judge) whyNot(r *rooted, s *signed, e *entity, err error) *Refusal {
	leaf := s.certificate
	chains, other := r.chains(leaf, s.intermediates, leaf.NotBefore)
	if other != nil {
		return invalid("%w (%s)", other, leaf.Issuer)
	}
	span := fmt.Sprintf("%s to %s", leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339))
	if onlyNow(j.trust) {
		if _, other := r.chains(leaf, s.intermediates, time.Now()); other != nil {
			return expired("the certificate is not valid now (%s): %w", span, err)
		}
		return j.whyNoSCT(r, chains, err)
	}
	log := j.log(r, e)
	stamps, _, _ := verify.VerifySignedTimestamp(e, r.root.Material())
	within, outside := log.within(leaf), log.outside(leaf)
	for _, s := range stamps {
		if leaf.NotBefore.After(s.Time) || leaf.NotAfter.Before(s.Time) {
			outside = true
		} else {
			within = true
		}
	}
	switch {
	case outside:
		return expired("it was made when its certificate was not valid (%s): %w", span, err)
	case log.broken != nil:
		return invalid("its entry in a trusted log is not good: %w", log.broken)
	case !within:
		return expired("no entry of a trusted log and no timestamp of a trusted authority tells that its certificate was valid (%s): %w", span, err)
	}
	return j.whyNotLogged(log, len(stamps), j.whyNoSCT(r, chains, err))
}

// whyNotByKey says why r does not vouch for e, which is by the key k.
func (j *Judge) whyNotByKey(r *rooted, k *key, e *entity, err error) *Refusal {
	material := keyed{r.root.Material(), k}
	log := j.logOf(material, e)
	if log.broken != nil {
		return invalid("its entry in a trusted log is not good: %w", log.broken)
	}
	stamps, _, _ := verify.VerifySignedTimestamp(e, material)
	return j.whyNotLogged(log, len(stamps), invalid("%w", err))
}

// whyNotLogged says what is missing of logs and timestamps; otherwise if nothing is.
func (j *Judge) whyNotLogged(log logged, stamps int, otherwise *Refusal) *Refusal {
	switch {
	case j.asksLogs() && !log.enough && log.known > 0:
		return invalid("it is in fewer than %d trusted logs: %w", j.trust.Logs, otherwise.Err)
	case j.asksLogs() && !log.enough:
		return invalid("it has no entry of a trusted log: %w", otherwise.Err)
	case stamps < j.trust.Timestamps:
		return invalid("it has timestamps of %d trusted authorities, not %d: %w", stamps, j.trust.Timestamps, otherwise.Err)
	}
	return otherwise
}

// whyNoSCT says whether a certificate's being logged is what is missing.
func (j *Judge) whyNoSCT(r *rooted, chains [][]*x509.Certificate, err error) *Refusal {
	if j.trust.SCTs > 0 {
		if err := verify.VerifySignedCertificateTimestamp(chains, j.trust.SCTs, r.root.Material()); err != nil {
			return invalid("its certificate has no SCT of a trusted certificate transparency log: %w", err)
		}
	}
	return invalid("%w", err)
}

// logged is what is known of the entries of a signature in trusted logs.
type logged struct {
	known  int         // entries that say they are of a trusted log
	times  []time.Time // that trusted logs promise
	enough bool        // they are what is asked for
	broken error       // why they are not, if they are the logs' word
}

func (j *Judge) log(r *rooted, e *entity) logged { return j.logOf(r.root.Material(), e) }

func (j *Judge) logOf(material root.TrustedMaterial, e *entity) (l logged) {
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

func (l logged) within(leaf *x509.Certificate) bool {
	for _, t := range l.times {
		if !leaf.NotBefore.After(t) && !leaf.NotAfter.Before(t) {
			return true
		}
	}
	return false
}

func (l logged) outside(leaf *x509.Certificate) bool { return len(l.times) > 0 && !l.within(leaf) }
