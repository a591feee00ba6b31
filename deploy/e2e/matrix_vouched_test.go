package e2e

import "fmt"

// vouchedRows are what logs and timestamp authorities vouch for, where policy asks for it.
func vouchedRows() []row {
	signed := func(f form, on, by, what string, w with, p policy, t twin) row {
		return row{form: f, by: by, what: "signature, " + what, on: on, attach: signs(f, w), policy: p, twin: t}
	}
	const v1, v2, stamp = "Rekor v1", "Rekor v2 and timestamp", "timestamp"

	// By a key, beside which a log's or an authority's word is asked for.
	logged := func(root string) policy { return requires(keyOf(p256), ctlog(root)) }
	stamped := func(root string) policy { return requires(keyOf(p256), timestamp(root)) }
	both := requires(keyOf(p256), ctlog("logs-tsa"), timestamp("logs-tsa"))
	young := requires(keyOf(p256), timestamp("tsa"), "maxAge: 1h")
	without := func(f form, what, why string) twin {
		return twin{is: "without " + what, attach: signs(f, byKey(p256)), reason: "signature_invalid", why: why}
	}
	noLog := func(f form) twin { return without(f, "a log entry", noEntry) }
	noStamp := func(f form) twin { return without(f, "a timestamp", noTimestamp) }
	anotherLog := twin{
		is: "logged by another log", policy: new(logged("other-logs")), reason: "signature_invalid", why: noEntry,
	}
	anotherTSA := twin{
		is: "another authority's timestamp", policy: new(stamped("only-other-tsa")), reason: "signature_invalid", why: noTimestamp,
	}
	stampAlone := twin{
		is: "a timestamp alone", attach: signs(bundle3, byKeyTimestamped(p256)), reason: "signature_invalid", why: noEntry,
	}

	// Without a key, and without a log.
	unlogged := func(root string) policy {
		return person(subject(build), root, "ctlog: {required: false}", "rfc3161timestamp: {threshold: 1}")
	}
	logWanted := twin{
		is: "a log entry asked for", policy: new(person(subject(build), "all")), reason: "signature_invalid", why: noEntry,
	}
	strangeTSA := twin{
		is: "another authority's timestamp", policy: new(unlogged("other-tsa")), reason: "signature_expired", why: nobodyVouches,
	}

	return []row{
		signed(classic, fallbackTag, p256, v1, byKeyLogged(p256), logged("logs"), noLog(classic)),
		signed(classic, referrersAPI, p256, v1, byKeyLogged(p256), logged("logs"), entryOfAnother(classic, byKeyLogged(p256))),
		signed(classic, fallbackTag, p256, stamp, byKeyTimestamped(p256), stamped("tsa"), anotherTSA),
		signed(bundle2, fallbackTag, p256, v1, byKeyLogged(p256), logged("logs"), anotherLog),
		signed(bundle2, referrersAPI, p256, stamp, byKeyTimestamped(p256), stamped("tsa"), noStamp(bundle2)),
		signed(bundle3, referrersAPI, p256, v2, byKeyLogged(p256), both, stampAlone),
		signed(bundle3, fallbackTag, p256, v2, byKeyLogged(p256), both, entryOfAnother(bundle3, byKeyLogged(p256))),
		signed(bundle3, fallbackTag, p256, stamp, byKeyTimestamped(p256), stamped("tsa"), noStamp(bundle3)),
		signed(bundle3, referrersAPI, p256, stamp+" of the last hour", byKeyTimestamped(p256), young, noStamp(bundle3)),
		signed(classic, fallbackTag, build, stamp, byPersonTimestamped(build), unlogged("no-logs"), logWanted),
		signed(classic, referrersAPI, build, stamp, byPersonTimestamped(build), unlogged("no-logs"), strangeTSA),
		signed(bundle3, referrersAPI, build, stamp, byPersonTimestamped(build), unlogged("no-logs"), logWanted),
		signed(bundle3, fallbackTag, build, stamp, byPersonTimestamped(build), unlogged("all"), strangeTSA),
	}
}

// ctlog asks for an entry in a log of the trusted root of that name.
func ctlog(root string) field {
	return func(m *matrix) string { return fmt.Sprintf("ctlog: {trustedRoot: %q}", m.root(root)) }
}

// timestamp asks for one by an authority of the trusted root of that name.
func timestamp(root string) field {
	return func(m *matrix) string { return fmt.Sprintf("rfc3161timestamp: {trustedRoot: %q}", m.root(root)) }
}
