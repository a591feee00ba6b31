package policy

import (
	"reflect"
	"regexp"
	"testing"

	"sluice/engine"
)

// everything is a policy with something in every field that the fingerprint covers.
func everything(t *testing.T) *engine.Policy {
	t.Helper()
	glob := func(text string) engine.Glob {
		g, err := engine.ParseGlob(text)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	return &engine.Policy{
		Name: "p", Images: []engine.Glob{glob("a")}, Tags: engine.Tags{Deny: []engine.Glob{glob("b")}, RequireDigest: true},
		Threshold: 2, Platforms: engine.Platforms{OrEvery: true, List: []string{"linux/amd64"}},
		Mode: engine.Warn, OnError: engine.OnErrorRetry, AllowTTL: 1, DenyTTL: 1, Message: "m",
		Pin: true, AlwaysPullImages: true, AllowUnchanged: true,
		Authorities: []*engine.Authority{{
			Name: "a", Static: engine.StaticPass, Trust: &engine.Trust{ID: "1"},
			Repository:  engine.Repository{Registry: "r", Path: "p"},
			Identities:  []engine.Identity{{Issuer: engine.Pattern{Exact: "i"}, Subject: engine.Pattern{Regexp: regexp.MustCompile("^s$")}}},
			Annotations: map[string]string{"k": "v"}, RequireReferenceMatch: true, MaxAge: 1,
			Attestations: []engine.Attestation{{Name: "n", PredicateType: "t", Expression: said("e")}},
		}},
	}
}

type said string

func (said) Holds(*engine.Statement, uint64) (bool, uint64, error) { return true, 0, nil }
func (s said) String() string                                      { return string(s) }

// TestFingerprintCoversTheEngine changes each field of a compiled policy, and wants another fingerprint each time.
func TestFingerprintCoversTheEngine(t *testing.T) {
	t.Parallel()
	first := func(p *engine.Policy) *engine.Authority { return p.Authorities[0] }
	glob, err := engine.ParseGlob("z")
	if err != nil {
		t.Fatal(err)
	}
	changes := map[string]func(*engine.Policy){
		"Policy.Name":        func(p *engine.Policy) { p.Name = "z" },
		"Policy.Namespaces":  nil, // as they were written
		"Policy.Fingerprint": nil, // itself
		"Policy.Images":      func(p *engine.Policy) { p.Images[0] = glob },
		"Policy.Tags":        func(p *engine.Policy) { p.Tags = engine.Tags{} },
		"Policy.Authorities": func(p *engine.Policy) { p.Authorities = append(p.Authorities, p.Authorities[0]) },
		"Policy.Threshold":   func(p *engine.Policy) { p.Threshold = 1 },
		"Policy.Platforms":   func(p *engine.Policy) { p.Platforms = engine.Platforms{} },
		"Policy.Mode":        func(p *engine.Policy) { p.Mode = engine.Enforce },
		"Policy.OnError":     func(p *engine.Policy) { p.OnError = engine.OnErrorAllow },
		"Policy.AllowTTL":    func(p *engine.Policy) { p.AllowTTL = 2 },
		"Policy.DenyTTL":     func(p *engine.Policy) { p.DenyTTL = 2 },
		"Policy.Message":     func(p *engine.Policy) { p.Message = "" },
		"Policy.Pin":         func(p *engine.Policy) { p.Pin = false },
		"Tags.Deny":          func(p *engine.Policy) { p.Tags.Deny = nil },
		"Tags.RequireDigest": func(p *engine.Policy) { p.Tags.RequireDigest = false },
		"Platforms.OrEvery":  func(p *engine.Policy) { p.Platforms.OrEvery = false },
		"Platforms.List":     func(p *engine.Policy) { p.Platforms.List[0] = "linux/arm64" },

		"Policy.AlwaysPullImages": func(p *engine.Policy) { p.AlwaysPullImages = false },
		"Policy.AllowUnchanged":   func(p *engine.Policy) { p.AllowUnchanged = false },

		"Authority.Name":                  func(p *engine.Policy) { first(p).Name = "z" },
		"Authority.Static":                func(p *engine.Policy) { first(p).Static = engine.StaticFail },
		"Authority.Trust":                 func(p *engine.Policy) { first(p).Trust = &engine.Trust{ID: "2"} },
		"Authority.Repository":            func(p *engine.Policy) { first(p).Repository = engine.Repository{} },
		"Authority.Identities":            func(p *engine.Policy) { first(p).Identities = nil },
		"Authority.Annotations":           func(p *engine.Policy) { first(p).Annotations = nil },
		"Authority.RequireReferenceMatch": func(p *engine.Policy) { first(p).RequireReferenceMatch = false },
		"Authority.MaxAge":                func(p *engine.Policy) { first(p).MaxAge = 2 },
		"Authority.Distinct":              func(p *engine.Policy) { first(p).Distinct = true },
		"Authority.Attestations":          func(p *engine.Policy) { first(p).Attestations = nil },
		"Repository.Registry":             func(p *engine.Policy) { first(p).Repository.Registry = "z" },
		"Repository.Path":                 func(p *engine.Policy) { first(p).Repository.Path = "z" },
		"Identity.Issuer":                 func(p *engine.Policy) { first(p).Identities[0].Issuer = engine.Pattern{} },
		"Identity.Subject":                func(p *engine.Policy) { first(p).Identities[0].Subject = engine.Pattern{} },
		"Pattern.Exact":                   func(p *engine.Policy) { first(p).Identities[0].Issuer.Exact = "z" },
		"Pattern.Regexp": func(p *engine.Policy) {
			first(p).Identities[0].Issuer = engine.Pattern{Regexp: regexp.MustCompile("i")}
		},
		"Attestation.Name":          func(p *engine.Policy) { first(p).Attestations[0].Name = "z" },
		"Attestation.PredicateType": func(p *engine.Policy) { first(p).Attestations[0].PredicateType = "z" },
		"Attestation.Expression":    func(p *engine.Policy) { first(p).Attestations[0].Expression = nil },
	}
	seen := map[[32]byte]string{fingerprint(everything(t), nil): "the original"}
	for _, typ := range []reflect.Type{
		reflect.TypeFor[engine.Policy](), reflect.TypeFor[engine.Tags](), reflect.TypeFor[engine.Platforms](), reflect.TypeFor[engine.Authority](),
		reflect.TypeFor[engine.Repository](), reflect.TypeFor[engine.Identity](), reflect.TypeFor[engine.Pattern](), reflect.TypeFor[engine.Attestation](),
	} {
		for i := range typ.NumField() {
			name := typ.Name() + "." + typ.Field(i).Name
			change, ok := changes[name]
			if !ok {
				t.Errorf("%s is not covered", name)
			}
			if change == nil {
				continue
			}
			p := everything(t)
			change(p)
			fp := fingerprint(p, nil)
			if before, ok := seen[fp]; ok {
				t.Errorf("a change of %s has the fingerprint of %s", name, before)
			}
			seen[fp] = name
		}
	}
}
