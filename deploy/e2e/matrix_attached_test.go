package e2e

import "fmt"

// keyRows has every form with every algorithm, with all that can be attached, and in both registries.
func keyRows() []row {
	whats := []func(f form, algorithm string) row{signature, annotated, recursive}
	for _, p := range []struct {
		predicate
		twin func(r row, p predicate) twin
	}{
		{slsa, conditionFails},
		{spdx, otherType},
		{cyclonedx, conditionFails},
		{vuln, conditionFails},
		{link, attestationOfAnother},
		{custom, attestedByAnother},
	} {
		whats = append(whats, func(f form, algorithm string) row {
			r := row{
				form: f, by: algorithm, what: p.kind, attach: attests(f, byKey(algorithm), p.predicate),
				policy: requires(keyOf(algorithm), p.required()),
			}
			r.twin = p.twin(r, p.predicate)
			return r
		})
	}
	var all []row
	for _, list := range []struct {
		form       form
		algorithms []string // of whats, in their order; empty where the tool makes none
	}{
		{classic, []string{p256, p384, rsa2048, rsa4096, ed, p256, p384, rsa2048, ed}},
		{bundle2, []string{rsa2048, "", ed, p256, p384, rsa4096, ed, p256, rsa2048}},
		{oci11, []string{ed, rsa4096, p256}},
		{bundle3, []string{p384, p256, rsa4096, rsa2048, p256, ed, rsa4096, p384, p256}},
	} {
		for n, algorithm := range list.algorithms {
			if algorithm == "" {
				continue
			}
			f := list.form
			f.unchecked = algorithm == ed
			r := whats[n](f, algorithm)
			r.on = []string{fallbackTag, referrersAPI}[len(all)%2]
			all = append(all, r)
		}
	}
	for _, more := range []struct {
		form          form
		algorithm, on string
	}{
		{oci11, p384, fallbackTag},
		{oci11, rsa2048, referrersAPI},
		{classic3, p256, referrersAPI},
		{classic3, rsa2048, fallbackTag},
	} {
		r := signature(more.form, more.algorithm)
		r.on = more.on
		all = append(all, r)
	}
	return all
}

// signature is a signature by a key.
func signature(f form, algorithm string) row {
	return row{
		form: f, by: algorithm, what: "signature", attach: signs(f, byKey(algorithm)), policy: requires(keyOf(algorithm)),
		twin: twin{is: "another key", policy: new(requires(keyOf(another))), reason: "signature_invalid", why: wrongKey},
	}
}

// annotated is a signature that carries annotations.
func annotated(f form, algorithm string) row {
	return row{
		form: f, by: algorithm, what: "annotations", attach: signs(f, byKey(algorithm), "-a", "env=prod", "-a", "team=a"),
		policy: requires(keyOf(algorithm), "annotations: {env: prod}"),
		twin: twin{
			is: "without the annotation", attach: signs(f, byKey(algorithm), "-a", "team=a"), reason: "annotations_mismatch",
		},
	}
}

// recursive is an index that was signed together with its platforms' images.
func recursive(f form, algorithm string) row {
	r := row{
		form: f, by: algorithm, what: "index, recursively", policy: requires(keyOf(algorithm)),
		attach: func(s *signing) { s.sign(f, byKey(algorithm), s.toIndex(), "--recursive") },
		twin: twin{
			is: "a platform's image unsigned", attach: func(s *signing) { s.sign(f, byKey(algorithm), s.toIndex()) },
			reason: "signature_missing",
		},
	}
	r.policy.spec = "platforms: [linux/amd64, linux/arm64/v8]"
	return r
}

func conditionFails(r row, p predicate) twin {
	return twin{
		is: "a condition that does not hold", policy: new(requires(keyOf(r.by), p.but(p.fails).required())),
		reason: "predicate_refused",
	}
}

func otherType(r row, p predicate) twin {
	other := cyclonedx
	return twin{
		is: other.kind + " asked for", policy: new(requires(keyOf(r.by), other.but(p.holds).required())),
		reason: "attestation_missing",
	}
}

func attestationOfAnother(r row, p predicate) twin {
	return twin{is: "another image's attestation", reason: "claim_mismatch", attach: func(s *signing) {
		attest := func(i image) { s.attest(r.form, byKey(r.by), i, p) }
		if r.format == "classic" {
			s.copiedTag(".att", attest)
			return
		}
		s.copiedReferrer(attest)
	}}
}

func attestedByAnother(r row, p predicate) twin {
	return twin{is: "another key", attach: attests(r.form, byKey(another), p), reason: "signature_invalid", why: wrongKey}
}

// predicate is what is attested, with a condition that holds for it and one that does not.
type predicate struct {
	kind         string // cosign's name of its type, and ours
	content      string // JSON
	holds, fails string // in CEL
}

// required asks for such an attestation, and for the condition that holds.
func (p predicate) required() field { return "attestations: [" + p.yaml() + "]" }

// and asks for another, too.
func (p predicate) and(other predicate) field {
	return "attestations: [" + p.yaml() + ", " + other.yaml() + "]"
}

func (p predicate) yaml() string {
	return fmt.Sprintf("{name: %[1]s, predicateType: %[1]s, expression: %[2]q}", p.kind, p.holds)
}

// but is the same with another condition.
func (p predicate) but(condition string) predicate {
	p.holds = condition
	return p
}

// The predicates have no more than cosign asks of each type.
var (
	slsa = predicate{
		"slsaprovenance1",
		`{"buildDefinition": {"buildType": "https://example.com/build", "externalParameters": {}},
		  "runDetails": {"builder": {"id": "https://example.com/builder"}}}`,
		`predicate.buildDefinition.buildType.startsWith('https://example.com/')`,
		`predicate.runDetails.builder.id == 'https://example.com/another'`,
	}
	spdx = predicate{
		"spdxjson", `{"spdxVersion": "SPDX-2.3", "packages": [{"name": "busybox", "versionInfo": "1.36"}]}`,
		`predicate.packages.all(p, p.name != 'log4j')`, `predicate.packages.exists(p, p.name == 'log4j')`,
	}
	cyclonedx = predicate{
		"cyclonedx", `{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"name": "busybox"}]}`,
		`predicate.components.exists(c, c.name == 'busybox')`, `predicate.components.exists(c, c.name == 'nothing')`,
	}
	vuln = predicate{
		"vuln",
		`{"invocation": {}, "scanner": {"uri": "pkg:example/scanner", "version": "1", "db": {}, "result": {"critical": 0}},
		  "metadata": {"scanStartedOn": "2026-01-01T00:00:00Z", "scanFinishedOn": "2026-01-01T00:01:00Z"}}`,
		`predicate.scanner.result.critical == 0`, `predicate.scanner.result.high == 0`,
	}
	link = predicate{
		"link",
		`{"_type": "link", "name": "build", "command": ["make"], "materials": {}, "products": {}, "byproducts": {},
		  "environment": {}}`,
		`predicate.name == 'build'`, `predicate.name == 'test'`,
	}
	custom = predicate{
		"custom", `{"approved": true}`,
		`predicate.Data.contains('"approved": true')`, `predicate.Data.contains('"approved": false')`,
	}
)
