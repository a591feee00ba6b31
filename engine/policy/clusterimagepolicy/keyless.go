package clusterimagepolicy

import (
	"fmt"
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
		root, left := a.oneRoot(asked{certificates: &w.TrustRootRef, timestamps: &tsa, ignoreSCT: w.InsecureIgnoreSCT})
		if left != "" {
			return nil, left
		}
		return mapping{
			{"keyless", keylessMapping(identities, root, w.InsecureIgnoreSCT)},
			{"ctlog", mapping{{"required", false}}},
			{"rfc3161timestamp", mapping{{"threshold", 1}}},
		}, ""
	case !useLog:
		return a.valid(identities)
	}
	root, left := a.oneRoot(asked{certificates: &w.TrustRootRef, logs: &log, ignoreSCT: w.InsecureIgnoreSCT})
	if left != "" {
		return nil, left
	}
	return mapping{{"keyless", keylessMapping(identities, root, w.InsecureIgnoreSCT)}}, ""
}

func keylessMapping(identities []mapping, root mapping, ignoreSCT bool) mapping {
	return mapping{{"identities", identities}, {"trustedRoot", root}}.with("insecureIgnoreSCT", ignoreSCT)
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
		var roots strings.Builder
		for _, ca := range pieces.authorities {
			roots.WriteString(ca[0].value.(mapping)[0].value.(string))
		}
		return mapping{{"certificate", mapping{{"roots", mapping{{"data", roots.String()}}}, {"identities", identities}}}}, ""
	}
	root, left := a.oneRoot(asked{certificates: &w.TrustRootRef, logs: &w.TrustRootRef, ignoreSCT: w.InsecureIgnoreSCT})
	if left != "" {
		return nil, left
	}
	a.remark(field, true, "policy-controller looks at no log and asks that the certificate be valid at that moment; "+
		"here the entry in a log is asked for, and the certificate may have expired since")
	return mapping{{"keyless", keylessMapping(identities, root, w.InsecureIgnoreSCT)}}, ""
}

// asked is what is asked of roots, each by the name of the root: "" is the public one, nil means that it is not asked for.
type asked struct {
	certificates, logs, timestamps *string
	ignoreSCT                      bool
}

// oneRoot makes one trusted root of all that is asked for, or says why that can't be.
func (a *authorityTranslator) oneRoot(want asked) (root mapping, left string) {
	var names []string
	for _, name := range []*string{want.certificates, want.logs, want.timestamps} {
		if name != nil {
			names = append(names, *name)
		}
	}
	same := true
	found := map[string]*trustRoot{}
	for _, name := range names {
		same = same && name == names[0]
		if name == "" {
			continue
		}
		root, left := a.root(name)
		if left != "" {
			return nil, left
		}
		found[name] = root
	}
	if first := found[names[0]]; same && names[0] == "" {
		return publicGood(), ""
	} else if same && first.keys == nil {
		return first.whole, ""
	}
	for _, name := range names {
		if found[name] == nil || found[name].keys == nil {
			return nil, fmt.Sprintf("what it asks for is of different roots (%s), and they are made one only if all are sigstoreKeys", strings.Join(quoted(names), ", "))
		}
	}
	if want.certificates != nil {
		k := found[*want.certificates].keys
		switch {
		case len(k.authorities) == 0:
			return nil, fmt.Sprintf("the TrustRoot %q has no certificateAuthorities", *want.certificates)
		case len(k.ctlogs) == 0 && !want.ignoreSCT:
			return nil, fmt.Sprintf("the TrustRoot %q has no ctLogs, so no certificate has the SCT that is asked for", *want.certificates)
		}
		root = root.with("certificateAuthorities", k.authorities)
		if !want.ignoreSCT {
			root = root.with("ctLogs", k.ctlogs)
		}
	}
	if want.logs != nil {
		k := found[*want.logs].keys
		if len(k.tlogs) == 0 {
			return nil, fmt.Sprintf("the TrustRoot %q has no tLogs", *want.logs)
		}
		root = root.with("tLogs", k.tlogs)
	}
	if want.timestamps != nil {
		k := found[*want.timestamps].keys
		if len(k.timestamps) == 0 {
			return nil, fmt.Sprintf("the TrustRoot %q has no timestampAuthorities", *want.timestamps)
		}
		root = root.with("timestampAuthorities", k.timestamps)
	}
	return root, ""
}

func quoted(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = fmt.Sprintf("%q", printable(name))
		if name == "" {
			out[i] = "the public one"
		}
	}
	return out
}

// anybody matches every issuer, or every subject.
const anybody = "^.*$"

// identities translates who may have signed.
func (a *authorityTranslator) identities() (out []mapping, left string) {
	left = "it names no identities, so whoever gets a certificate of that authority could sign"
	for i, w := range a.Keyless.Identities {
		field := fmt.Sprintf("%s.keyless.identities[%d]", a.field, i)
		if w.Issuer != "" && w.IssuerRegExp != "" || w.Subject != "" && w.SubjectRegExp != "" {
			a.fail(field, "an identity has issuer or issuerRegExp, and subject or subjectRegExp")
			return nil, ""
		}
		m := mapping{}.with("issuer", w.Issuer)
		m = m.with("issuerRegExp", a.pattern(field+".issuerRegExp", w.IssuerRegExp, "issuer"))
		m = m.with("subject", w.Subject)
		m = m.with("subjectRegExp", a.pattern(field+".subjectRegExp", w.SubjectRegExp, "subject"))
		switch noIssuer, noSubject := w.Issuer == "" && w.IssuerRegExp == "", w.Subject == "" && w.SubjectRegExp == ""; {
		case noIssuer && noSubject:
			a.remark(field, false, "left out; it says nothing, so whoever gets a certificate could sign")
			continue
		case noIssuer:
			a.remark(field, false, "an absent issuer is any issuer, and is written so; name it")
			m = append(mapping{{"issuerRegExp", anybody}}, m...)
		case noSubject:
			a.remark(field, false, "an absent subject is any subject, and is written so; name it")
			m = append(m, entry{"subjectRegExp", anybody})
		}
		out = append(out, m)
	}
	if len(out) > 0 {
		left = ""
	}
	return out, left
}

// pattern translates a regular expression, which policy-controller searches for rather than matches.
func (a *authorityTranslator) pattern(field, expr, what string) string {
	if expr == "" {
		return ""
	}
	anchored, openStart, openEnd, err := anchor(expr)
	switch {
	case err != nil:
		a.fail(field, "not a regular expression that can be kept: %v", err)
	case openStart:
		a.remark(field, false, "policy-controller searches for it anywhere in the %s, so look-alikes pass; kept so, as %s; anchor it", what, anchored)
	case openEnd:
		a.note(field, false, "policy-controller takes any %s that begins so; kept so, as %s", what, anchored)
	case anchored != expr:
		a.note(field, false, "written as %s, which means the same", anchored)
	}
	return anchored
}
