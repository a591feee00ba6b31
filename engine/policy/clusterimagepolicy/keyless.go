package clusterimagepolicy

import (
	"fmt"
	"slices"
	"strings"
)

// keyless translates an authority whose signers have certificates.
//
// policy-controller has three ways to tell when a signature was made: the log's entry; a signed timestamp, in place of the
// log; and, where it looks at neither, the present, at which the certificate must be valid.
func (a *authorityTranslator) keyless() (body mapping, left string) {
	w := a.Keyless
	if w.CACert != nil {
		return nil, "it has a ca-cert, which policy-controller accepts no signature by"
	}
	identities, left := a.identities()
	if left != "" {
		return nil, left
	}
	a.urls()
	tsa, useTimestamps := a.timestampRoot()
	bundle := a.SignatureFormat == "bundle"
	if bundle && (useTimestamps && tsa != w.TrustRootRef || a.CTLog != nil && a.CTLog.TrustRootRef != w.TrustRootRef) {
		return nil, "the root of the log or of the timestamps is another than that of the certificates, which policy-controller does not accept of bundles"
	}
	log, useLog := a.log()
	switch {
	case useTimestamps:
		a.logIgnored()
		return a.certified(identities, asked{certificates: &w.TrustRootRef, timestamps: &tsa, ignoreSCT: w.InsecureIgnoreSCT})
	case useLog:
		return a.certified(identities, asked{certificates: &w.TrustRootRef, logs: &log, ignoreSCT: w.InsecureIgnoreSCT})
	}
	return a.valid(identities)
}

// certified writes a keyless authority with what is asked for, of one root if that can be, or else each of its own.
func (a *authorityTranslator) certified(identities []mapping, want asked) (body mapping, left string) {
	var log, timestamp mapping
	if want.timestamps != nil {
		log, timestamp = mapping{{"required", false}}, mapping{{"threshold", 1}}
	}
	base, rest := want, []asked{}
	if a.mixed(want) {
		base = asked{certificates: want.certificates, ignoreSCT: want.ignoreSCT}
		rest = []asked{{logs: want.logs}, {timestamps: want.timestamps}}
	}
	root, left := a.oneRoot(base)
	for _, part := range rest {
		if left != "" || part.logs == nil && part.timestamps == nil {
			continue
		}
		var other mapping
		if other, left = a.oneRoot(part); part.logs != nil {
			log = mapping{{"required", true}, {"trustedRoot", other}}
		} else {
			timestamp = timestamp.with("trustedRoot", other)
		}
	}
	if left != "" {
		return nil, left
	}
	keyless := mapping{{"identities", identities}, {"trustedRoot", root}}.with("insecureIgnoreSCT", want.ignoreSCT)
	return mapping{{"keyless", keyless}}.with("ctlog", log).with("rfc3161timestamp", timestamp), ""
}

// log tells whether an entry in a log is asked for where timestamps are not, and by which root's keys.
func (a *authorityTranslator) log() (ref string, used bool) {
	w, certificates := a.CTLog, a.Keyless.TrustRootRef
	switch {
	case a.SignatureFormat == "bundle":
		return certificates, true
	case w == nil:
		return "", certificates == "" // only the public log is looked at without being asked for
	case w.TrustRootRef != "":
		return w.TrustRootRef, true
	}
	return "", w.URL != ""
}

// valid translates an authority whose certificates must be valid when they are looked at.
func (a *authorityTranslator) valid(identities []mapping) (body mapping, left string) {
	w := a.Keyless
	field := a.field + ".keyless"
	if a.CTLog != nil {
		field = a.field + ".ctlog"
	}
	var pieces *keys
	if w.TrustRootRef != "" {
		root, left := a.root(w.TrustRootRef)
		if left != "" {
			return nil, left
		}
		pieces = root.keys
	}
	if pieces != nil && len(pieces.authorities) > 0 && (w.InsecureIgnoreSCT || len(pieces.tlogs) == 0 || len(pieces.ctlogs) == 0) {
		if !w.InsecureIgnoreSCT {
			a.remark(field, true, "no log is looked at, there as here, and certificates without a log are not asked for the SCTs that policy-controller asks for")
		}
		var roots []string
		for _, chain := range pieces.chains {
			for _, certificate := range chain {
				if !slices.Contains(roots, certificate) {
					roots = append(roots, certificate)
				}
			}
		}
		return mapping{{"certificate", mapping{{"roots", mapping{{"data", strings.Join(roots, "")}}}, {"identities", identities}}}}, ""
	}
	a.remark(field, true, "policy-controller looks at no log and asks that the certificate be valid at that moment; "+
		"here the entry in a log is asked for, and the certificate may have expired since")
	return a.certified(identities, asked{certificates: &w.TrustRootRef, logs: &w.TrustRootRef, ignoreSCT: w.InsecureIgnoreSCT})
}

// asked is what is asked of roots, each by the name of the root: "" is the public one, nil means that it is not asked for.
type asked struct {
	certificates, logs, timestamps *string
	ignoreSCT                      bool
}

// names returns the names of the roots that are asked for.
func (want asked) names() (names []string) {
	for _, name := range []*string{want.certificates, want.logs, want.timestamps} {
		if name != nil {
			names = append(names, *name)
		}
	}
	return names
}

// mixed tells whether what is asked for is of several roots that are not all made of pieces.
func (a *authorityTranslator) mixed(want asked) bool {
	names := want.names()
	if !slices.ContainsFunc(names, func(name string) bool { return name != names[0] }) {
		return false
	}
	return slices.ContainsFunc(names, func(name string) bool { return a.roots[name] == nil || a.roots[name].keys == nil })
}

// oneRoot makes one trusted root of all that is asked for, or says why there is none. What is asked for is not mixed.
func (a *authorityTranslator) oneRoot(want asked) (root mapping, left string) {
	found := map[string]*trustRoot{}
	for _, name := range want.names() {
		if name == "" {
			return publicGood(), ""
		}
		root, left := a.root(name)
		if left != "" {
			return nil, left
		}
		if what := root.lacks(want); what != "" {
			return nil, fmt.Sprintf("the TrustRoot %q has no %s", printable(name), what)
		}
		if root.keys == nil {
			return root.whole, ""
		}
		found[name] = root
	}
	if want.certificates != nil {
		k := found[*want.certificates].keys
		root = root.with("certificateAuthorities", k.authorities)
		if !want.ignoreSCT {
			root = root.with("ctLogs", k.ctlogs)
		}
	}
	if want.logs != nil {
		root = root.with("tLogs", found[*want.logs].keys.tlogs)
	}
	if want.timestamps != nil {
		root = root.with("timestampAuthorities", found[*want.timestamps].keys.timestamps)
	}
	return root, ""
}

// anybody and somebody match every issuer, and every subject.
const (
	anybody  = "^.*$"
	somebody = "^.+$"
)

// Bounds of an authority's identities, which whoever loads a policy enforces too.
const (
	maxIdentities = 64
	maxIdentity   = 1024 // bytes of a rule
)

// identities translates who may have signed.
func (a *authorityTranslator) identities() (out []mapping, left string) {
	left = "it names no identity that can be kept, so whoever gets a certificate of that authority could sign"
	seen := map[string]bool{}
	for i, w := range a.Keyless.Identities {
		field := fmt.Sprintf("%s.keyless.identities[%d]", a.field, i)
		if w.Issuer != "" && w.IssuerRegExp != "" || w.Subject != "" && w.SubjectRegExp != "" {
			a.fail(field, "an identity has issuer or issuerRegExp, and subject or subjectRegExp")
			return nil, ""
		}
		if w.Issuer+w.IssuerRegExp == "" || w.Subject+w.SubjectRegExp == "" {
			what := pick(w.Issuer+w.IssuerRegExp == "", "issuer", "subject")
			a.remark(field, false, "an absent %s is any %s, and is written so; name it", what, what)
		}
		issuer, anyIssuer := a.rule(field, "issuer", w.Issuer, w.IssuerRegExp)
		subject, anySubject := a.rule(field, "subject", w.Subject, w.SubjectRegExp)
		m := mapping{issuer, subject}
		text := fmt.Sprint(m)
		switch {
		case anyIssuer && anySubject:
			a.stricter(field, "left out; it says nothing, so whoever gets a certificate could sign")
			continue
		case exactPattern(w.Issuer) || exactPattern(w.Subject):
			a.remark(field, false, "left out; issuer and subject are compared as they stand, so nobody has such a name")
			continue
		case w.Issuer != "" && !strings.HasPrefix(w.Issuer, "https://") && !strings.HasPrefix(w.Issuer, "http://"):
			a.remark(field, false, "left out; an issuer begins with https://, so nobody has this one")
			continue
		case seen[text]:
			continue
		}
		seen[text] = true
		out = append(out, m)
	}
	if len(out) > maxIdentities {
		a.fail(a.field+".keyless.identities", "there are more than %d identities, and an authority has no more here", maxIdentities)
	}
	if len(out) > 0 {
		left = ""
	}
	return out, left
}

// exactPattern tells whether a text that is compared as it stands was meant for a pattern.
func exactPattern(text string) bool {
	return strings.Contains(text, "*") || strings.HasPrefix(text, "^") || strings.HasSuffix(text, "$")
}

// rule translates what an issuer or a subject must be, and tells whether it may be anything.
func (a *authorityTranslator) rule(field, what, exact, expr string) (e entry, anything bool) {
	if len(exact) > maxIdentity || len(expr) > maxIdentity {
		a.fail(field, "the %s is longer than %d bytes", what, maxIdentity)
		return entry{}, false
	}
	switch {
	case exact != "":
		return entry{what, exact}, false
	case expr == "":
		return entry{what + "RegExp", anybody}, true
	}
	field += "." + what + "RegExp"
	anchored, openStart, openEnd, err := anchor(expr)
	switch {
	case err != nil:
		a.fail(field, "not a regular expression that can be kept: %v", err)
	case anchored == anybody || anchored == somebody:
		return entry{what + "RegExp", anchored}, true
	case openStart:
		a.remark(field, false, "policy-controller searches for it anywhere in the %s, so look-alikes pass; kept so, as %s; anchor it", what, anchored)
	case openEnd:
		a.note(field, false, "policy-controller takes any %s that begins so; kept so, as %s", what, anchored)
	case anchored != expr:
		a.note(field, false, "written as %s, which means the same", anchored)
	}
	return entry{what + "RegExp", anchored}, false
}
