package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// plainly says what the answer to a review is, without anything prepared or remembered.
func plainly(sc *scope, verdicts []*Verdict) (o Outcome, reason Reason, message string, audit []string) {
	var distinct []*Verdict
	for _, v := range verdicts {
		if !slices.Contains(distinct, v) {
			distinct = append(distinct, v)
		}
	}
	o, reason = Allow, ReasonPassed
	warned := false
	for i, v := range distinct {
		if i == 0 || rank[v.Outcome] > rank[o] || v.Outcome == Allow && o == Allow && v.Warning && !warned {
			o, reason = v.Outcome, v.Reason
		}
		warned = warned || v.Warning
	}
	if len(distinct) == 0 {
		o, reason = Deny, ReasonInvalidRequest
	}
	warned = warned && o == Allow
	var messages, digests []string
	policy := ""
	for _, v := range distinct {
		if v.Message() != "" && (o == Allow || v.Outcome != Allow) {
			messages = append(messages, v.Message())
		}
		if policy == "" && v.Outcome == o && v.Warning == warned {
			policy = v.Policy
		}
		if d := v.Image; v.Digest != "" {
			if !strings.HasSuffix(d, string(v.Digest)) {
				d += "@" + string(v.Digest)
			}
			digests = append(digests, d)
		}
	}
	message = strings.Join(messages, "; ")
	if len(distinct) == 0 {
		message = "the review names no image; a pod has at least one container"
	}
	verdict := o.String()
	if warned {
		verdict = "warn"
	}
	audit = append(audit, "verdict="+verdict, "reason="+reason.String())
	if policy != "" {
		audit = append(audit, "policy="+policy)
	}
	audit = append(audit, "fingerprint="+sc.short)
	if len(digests) > 0 {
		audit = append(audit, "digests="+strings.Join(digests, " "))
	}
	if warned {
		audit = append(audit, "warnings="+message)
	}
	return o, reason, message, audit
}

// TestResult compares the answers to random reviews of a few scopes, whose verdicts come again and again, with what is
// plainly so.
func TestResult(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	of := func(all ...string) string { return all[random.IntN(len(all))] }
	for range 20 {
		var res Result
		var scopes []*scope
		pools := make([][]*Verdict, 3)
		for i := range pools {
			scopes = append(scopes, newScope([]*Policy{{Fingerprint: [32]byte{byte(i)}}}, NoMatchDeny))
			for n := range 200 {
				v := &Verdict{
					Image:   fmt.Sprint(of("a", "b", "\xff", `"`, "é", "x@"+of("", "sha256:1")), n),
					Outcome: Outcome(random.IntN(int(numOutcomes))), Reason: Reason(random.IntN(4)),
					Policy: of("", "", "p", "q", `"r"`), Digest: Digest(of("", "sha256:1", "sha256:2\n")),
				}
				if random.IntN(2) == 0 {
					v.Outcome = Allow
				}
				v.Warning = v.Outcome == Allow && random.IntN(4) == 0
				if v.Outcome != Allow || v.Warning {
					v.words = &words{message: fmt.Sprint("message ", n)}
				}
				if random.IntN(4) == 0 && v.Digest != "" {
					v.Image += "@" + string(v.Digest)
				}
				pools[i] = append(pools[i], v)
			}
		}
		for range 200 {
			i := random.IntN(len(pools))
			verdicts := make([]*Verdict, random.IntN(6))
			if random.IntN(10) == 0 {
				verdicts = make([]*Verdict, random.IntN(300))
			}
			allowed := random.IntN(2) == 0
			res.begin(scopes[i])
			for n := range verdicts {
				for verdicts[n] == nil || allowed && verdicts[n].Outcome != Allow {
					verdicts[n] = pools[i][random.IntN(200)]
				}
				res.add(verdicts[n])
			}
			res.finish()
			outcome, reason, message, audit := plainly(scopes[i], verdicts)
			check := func(what string, notes []Annotation) {
				t.Helper()
				var got []string
				for _, a := range notes {
					got = append(got, a.Key+"="+string(a.Value))
					if a.Plain && strings.ContainsFunc(string(a.Value), func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
						t.Fatalf("%q is not plain", a.Value)
					}
				}
				if !slices.Equal(got, audit) {
					t.Fatalf("%s: annotations %q, want %q", what, got, audit)
				}
			}
			if res.Outcome != outcome || res.Reason != reason || string(res.Message()) != message {
				t.Fatalf("%v %v %q, want %v %v %q", res.Outcome, res.Reason, res.Message(), outcome, reason, message)
			}
			check("all", res.Audit())
			check("in two", append(slices.Clone(res.Ruling().Audit()), res.Details()...))
			if res.Ruling().Allowed() != (outcome == Allow) {
				t.Fatal("the ruling is another outcome's")
			}
		}
	}
}

// TestRulingIsShared finds the same ruling for the same rules, in whatever namespace, so that its form is made once.
func TestRulingIsShared(t *testing.T) {
	t.Parallel()
	e := newEngine(t, &facts{}, NoMatchAllow, policyFor(t, "no-latest", "**", denyTags("latest")))
	made := 0
	write := func(r *Ruling) []byte {
		made++
		return []byte(r.policy)
	}
	var first *Ruling
	for _, namespace := range []string{"a", "b", "a"} {
		for _, image := range []string{"x.example/a:1", "x.example/b:1"} {
			var res Result
			e.Decide(t.Context(), &Request{Namespace: namespace, Images: []string{image}}, &res)
			if first == nil {
				first = res.Ruling()
			}
			if res.Ruling() != first || string(first.Form(write)) != "no-latest" {
				t.Errorf("%s in %s has a ruling of its own: %+v", image, namespace, res.Ruling())
			}
		}
	}
	var res Result
	e.Decide(t.Context(), &Request{Namespace: "a", Images: []string{"x.example/a:latest"}}, &res)
	if res.Ruling() == first || res.Ruling().Allowed() {
		t.Errorf("a denial has the ruling of what is allowed: %+v", res.Ruling())
	}
	if made != 1 {
		t.Errorf("the form was made %d times", made)
	}
	if s := e.Snapshot(); len(s.distinct) != 1 {
		t.Errorf("%d scopes of the same rules", len(s.distinct))
	}
	if (&Result{Outcome: Allow}).Ruling() != nil {
		t.Error("a ruling that nobody made")
	}
}
