package policy

import (
	"strings"

	"sluice/engine"
)

// maxThreshold bounds how many logs or timestamp authorities can be asked for.
const maxThreshold = 8

// demands is how many logs and timestamp authorities an authority asks for.
type demands struct{ logs, timestamps int }

// key compiles the trust in keys: any of them.
func (c *compiler) key(path string, w *Authority) *engine.Trust {
	d := c.demands(path, w)
	t := engine.Trust{
		Keys:       c.keys(path, w),
		Roots:      c.evidenceRoots(path, w, d, nil),
		Logs:       d.logs,
		Timestamps: d.timestamps,
	}
	return c.trust(path, t)
}

// keyless compiles the trust in certificates that live for minutes, so that something has to vouch for the time at which
// they were used.
func (c *compiler) keyless(path string, w *Authority) *engine.Trust {
	d := c.demands(path, w)
	here := path + ".keyless"
	t := engine.Trust{Logs: d.logs, Timestamps: d.timestamps, SCTs: 1, Intermediates: true}
	need := needs{certificates: true, ctlogs: true, logs: d.logs, timestamps: d.timestamps}
	if w.Keyless.InsecureIgnoreSCT {
		t.SCTs, need.ctlogs = 0, false
	}
	if c.missing(here+".trustedRoot", "it says whose certificates are believed") {
		return nil
	}
	if w.CTLog != nil && len(w.CTLog.TrustedRoot) > 0 {
		need.logs = 0
	}
	if w.RFC3161Timestamp != nil && len(w.RFC3161Timestamp.TrustedRoot) > 0 {
		need.timestamps = 0
	}
	base := c.roots(here+".trustedRoot", w.Keyless.TrustedRoot, need)
	t.Roots = c.evidenceRoots(path, w, d, base)
	return c.trust(path, t)
}

// certificate compiles the trust in certificates of one's own.
func (c *compiler) certificate(path string, w *Authority) *engine.Trust {
	d := c.demands(path, w)
	t := engine.Trust{
		Logs:          d.logs,
		Timestamps:    d.timestamps,
		CurrentTime:   d == demands{},
		Intermediates: true,
	}
	if c.missing(path+".certificate.roots", "they say whose certificates are believed") {
		return nil
	}
	base := c.ownRoots(path+".certificate.roots", w.Certificate.Roots)
	t.Roots = c.evidenceRoots(path, w, d, base)
	return c.trust(path, t)
}

func (c *compiler) trust(path string, t engine.Trust) *engine.Trust {
	if len(c.errs) > 0 {
		return nil
	}
	trust, err := engine.NewTrust(t)
	if err != nil {
		c.fail(path, "%s", strings.TrimPrefix(err.Error(), "engine: "))
		return nil
	}
	return trust
}

// demands reads ctlog and rfc3161timestamp. A keyless authority asks for one log if nothing else is said.
func (c *compiler) demands(path string, w *Authority) demands {
	var d demands
	if w.RFC3161Timestamp != nil {
		d.timestamps = c.count(path+".rfc3161timestamp.threshold", w.RFC3161Timestamp.Threshold)
	}
	if w.Keyless != nil {
		d.logs = 1
	}
	if w.CTLog == nil {
		return d
	}
	at := path + ".ctlog"
	d.logs = c.count(at+".threshold", w.CTLog.Threshold)
	if w.CTLog.Required == nil || *w.CTLog.Required {
		return d
	}
	d.logs = 0
	switch {
	case w.Keyless == nil:
		c.fail(at+".required", "a log is looked at only if ctlog is there; leave all of ctlog out")
	case w.RFC3161Timestamp == nil:
		c.fail(at+".required", "then nothing would say when a signature was made, and the certificates of a keyless authority live for minutes; ask for an rfc3161timestamp")
	case c.doc.Has(at + ".threshold"):
		c.fail(at+".threshold", "no log is looked at, since ctlog says required: false")
	case c.doc.Has(at + ".trustedRoot"):
		c.errs = append(c.errs, c.doc.KeyErrorf(at+".trustedRoot", "no log is looked at, since ctlog says required: false"))
	}
	return d
}

// count reads a threshold, of which the absent one is 1.
func (c *compiler) count(path string, n int) int {
	if !c.doc.Has(path) {
		return 1
	}
	if n < 1 || n > maxThreshold {
		c.fail(path, "must be from 1 to %d", maxThreshold)
		return 1
	}
	return n
}

// evidenceRoots completes base, which may be nil, by the logs and timestamp authorities of the roots that ctlog and
// rfc3161timestamp name. A signature must be good by one root alone, so there is one for every combination.
func (c *compiler) evidenceRoots(path string, w *Authority, d demands, base []rootSource) []*engine.TrustRoot {
	logsAt, timestampsAt := path+".ctlog.trustedRoot", path+".rfc3161timestamp.trustedRoot"
	hasLogs := d.logs > 0 && c.doc.Has(logsAt)
	hasTimestamps := d.timestamps > 0 && c.doc.Has(timestampsAt)
	if w.Keyless == nil && !hasLogs && !hasTimestamps {
		switch {
		case d.logs > 0:
			c.fail(path+".ctlog", "ctlog has no trustedRoot; it says which logs are believed")
		case d.timestamps > 0:
			c.fail(path+".rfc3161timestamp", "rfc3161timestamp has no trustedRoot; it says which timestamp authorities are believed")
		}
	}
	if w.Keyless == nil && d.logs > 0 && d.timestamps > 0 && hasLogs != hasTimestamps { // one for both
		at, list := logsAt, w.CTLog.TrustedRoot
		if hasTimestamps {
			at, list = timestampsAt, w.RFC3161Timestamp.TrustedRoot
		}
		both := c.roots(at, list, needs{logs: d.logs, timestamps: d.timestamps})
		var all []*engine.TrustRoot
		for _, root := range both {
			all = append(all, c.combine(path, base, []rootSource{root}, []rootSource{root})...)
		}
		return all
	}
	var logs, timestamps []rootSource
	if hasLogs {
		logs = c.roots(logsAt, w.CTLog.TrustedRoot, needs{logs: d.logs})
	}
	if hasTimestamps {
		timestamps = c.roots(timestampsAt, w.RFC3161Timestamp.TrustedRoot, needs{timestamps: d.timestamps})
	}
	return c.combine(path, base, logs, timestamps)
}
