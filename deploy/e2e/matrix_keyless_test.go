package e2e

import "fmt"

const (
	build     = "build@example.com"
	lookAlike = "build@example.com.evil.test"
	stranger  = "other@example.com"
)

// keylessRows are what is signed without a key, and logged.
func keylessRows() []row {
	signed := func(f form, on string, p policy, t twin) row {
		return row{form: f, by: build, what: logged(f, "signature"), on: on, attach: signs(f, byPerson(build)), policy: p, twin: t}
	}
	byAJob := func(f form, on string, p policy, t twin) row {
		r := signed(f, on, p, t)
		r.by, r.attach = "a job of team/app", signs(f, byJob("team/app", "refs/heads/main"))
		return r
	}
	exact := person(subject(build), "all")
	anchored := person(subjectRegExp(`^build@example\.com$`), "all")
	team := certified(jobs, subjectRegExp(`^https://github\.com/team/.+@refs/heads/main$`), trustedRoot("all"))
	address := func(f form, is, address string) twin {
		return twin{is: is, attach: signs(f, byPerson(address)), reason: "identity_mismatch"}
	}
	anotherAddress := func(f form) twin { return address(f, "another address", stranger) }
	lookAlike := func(f form) twin { return address(f, "look-alike "+lookAlike, lookAlike) }
	anotherJob := func(f form, is, repository, ref string) twin {
		return twin{is: is, attach: signs(f, byJob(repository, ref)), reason: "identity_mismatch"}
	}
	judged := func(is, root, reason, why string) twin {
		return twin{is: is, policy: new(person(subject(build), root)), reason: reason, why: why}
	}
	anotherLog := judged("logged by another log", "other-logs", "signature_expired", nobodyVouches)
	anotherCheckpoint := judged("the checkpoint of another log", "other-logs", "signature_invalid", noEntry)
	anotherSCT := judged("the SCT of another log", "other-ct", "signature_invalid", noSCT)
	anotherCA := judged("another authority's certificate", "other-ca", "signature_invalid", otherCA)

	all := []row{
		signed(classic, fallbackTag, exact, anotherAddress(classic)),
		signed(classic, referrersAPI, anchored, lookAlike(classic)),
		signed(classic, fallbackTag, exact, entryOfAnother(classic, byPerson(build))),
		signed(classic, referrersAPI, exact, anotherLog),
		signed(classic, fallbackTag, exact, anotherSCT),
		signed(classic, referrersAPI, exact, anotherCA),
		byAJob(classic, fallbackTag, team, anotherJob(classic, "a job on another branch", "team/app", "refs/heads/feature")),
		signed(oci11, referrersAPI, exact, anotherAddress(oci11)),
		signed(bundle2, fallbackTag, anchored, lookAlike(bundle2)),
		signed(bundle2, referrersAPI, exact, entryOfAnother(bundle2, byPerson(build))),
		signed(bundle2, fallbackTag, exact, anotherLog),
		signed(bundle3, fallbackTag, exact, anotherAddress(bundle3)),
		signed(bundle3, referrersAPI, anchored, lookAlike(bundle3)),
		signed(bundle3, fallbackTag, exact, entryOfAnother(bundle3, byPerson(build))),
		signed(bundle3, referrersAPI, exact, anotherCheckpoint),
		signed(bundle3, fallbackTag, exact, anotherSCT),
		signed(bundle3, referrersAPI, exact, anotherCA),
		byAJob(bundle3, fallbackTag, team, anotherJob(bundle3, "a job of another team", "team-evil/app", "refs/heads/main")),
	}
	all = append(all, keylessAttestations()...)

	// The entry is of type dsse, which the verifier of bundles no longer believes in logs of the second version.
	dsse := signed(bundle2, fallbackTag, exact, twin{})
	dsse.what, dsse.attach, dsse.refused = "signature, Rekor v2", signs(bundle2, byPersonRekor2(build)), "signature_invalid"

	// Roots that are written otherwise.
	pieces := signed(bundle3, referrersAPI, certified(people, subject(build), trustPieces("rekor2")), twin{
		is: "pieces with another log's key", reason: "signature_invalid", why: noEntry,
		policy: new(certified(people, subject(build), trustPieces("other"))),
	})
	pieces.what += "; trusted root in pieces"
	several := signed(classic, fallbackTag, certified(people, subject(build), trustedRoots("other-ca", "all")), twin{
		is: "two of others", reason: "signature_invalid",
		policy: new(certified(people, subject(build), trustedRoots("other-ca", "other-ct"))),
	})
	several.what += "; two trusted roots"
	return append(all, dsse, pieces, several)
}

// keylessAttestations are statements that are signed without a key.
func keylessAttestations() []row {
	of := func(f form, on string, t twin) row {
		return row{
			form: f, by: build, what: logged(f, slsa.kind), on: on, attach: attests(f, byPerson(build), slsa),
			policy: person(subject(build), "all", slsa.required()), twin: t,
		}
	}
	return []row{
		of(classic, fallbackTag, twin{
			is: "a condition that does not hold", policy: new(person(subject(build), "all", slsa.but(slsa.fails).required())),
			reason: "predicate_refused",
		}),
		of(classic, referrersAPI, twin{
			is: "another address", attach: attests(classic, byPerson(stranger), slsa), reason: "identity_mismatch",
		}),
		of(bundle2, referrersAPI, twin{
			is: "a signature alone", attach: signs(bundle2, byPerson(build)), reason: "attestation_missing",
		}),
		of(bundle3, referrersAPI, twin{
			is: "another address", attach: attests(bundle3, byPerson(stranger), slsa), reason: "identity_mismatch",
		}),
		of(bundle3, fallbackTag, twin{
			is: "a condition that does not hold", policy: new(person(subject(build), "all", slsa.but(slsa.fails).required())),
			reason: "predicate_refused",
		}),
	}
}

// logged says which log a form writes to, if it writes to one.
func logged(f form, what string) string {
	if f.tool == cosignV3 {
		return what + ", Rekor v2 and timestamp"
	}
	return what + ", Rekor v1"
}

// byPersonRekor2 has v2 write to a log of Rekor's second version.
func byPersonRekor2(address string) with {
	return func(s *signing, _ form) []string {
		return []string{
			"--identity-token", s.issuer.person(s, address),
			"--signing-config", s.matrix.signing("keyless"), "--trusted-root", s.root("all"),
		}
	}
}

// entryOfAnother is a signature with the log entry of another artifact, by the same signer.
func entryOfAnother(f form, w with) twin {
	return twin{
		is: "the log entry of another artifact", attach: func(s *signing) { s.entryOfAnother(f, w) },
		reason: "signature_invalid", why: notItsEntry,
	}
}

// person is a policy that asks for one of the issuer's people, by the trusted root of that name.
func person(subject, root string, more ...field) policy {
	return certified(people, subject, trustedRoot(root), more...)
}

// certified is a policy that asks for a certificate by one of the issuer's tokens.
func certified(face, subject string, root func(m *matrix) string, more ...field) policy {
	return requires(append([]field{func(m *matrix) string {
		return fmt.Sprintf("keyless: {identities: [{issuer: %q, %s}], trustedRoot: %s}", m.issuer.url(face), subject, root(m))
	}}, more...)...)
}

func subject(exact string) string         { return fmt.Sprintf("subject: %q", exact) }
func subjectRegExp(pattern string) string { return fmt.Sprintf("subjectRegExp: %q", pattern) }

func trustedRoot(name string) func(m *matrix) string {
	return func(m *matrix) string { return fmt.Sprintf("%q", m.root(name)) }
}

func trustedRoots(names ...string) func(m *matrix) string {
	return func(m *matrix) string { return fmt.Sprintf("[%q, %q]", m.root(names[0]), m.root(names[1])) }
}

// trustPieces is the root as a list of keys and certificates, of which that of the log is named.
func trustPieces(log string) func(m *matrix) string {
	return func(m *matrix) string {
		return fmt.Sprintf("{certificateAuthorities: [{chain: {file: %q}, uri: %q}], ctLogs: [{key: {file: %q}}], "+
			"tLogs: [{key: {file: %q}, baseURL: %q}], timestampAuthorities: [{chain: {file: %q}}]}", m.file("fulcio.pem"),
			m.urls.fulcio, m.file("ct.pub"), m.file(log+".pub"), m.urls.rekor2, m.file("tsa.pem"))
	}
}
