package engine

import (
	"strings"
	"testing"
)

func TestParseImageGlob(t *testing.T) {
	t.Parallel()
	f := func(pattern string, match, other []string) {
		t.Helper()
		g, err := ParseImageGlob(pattern)
		if err != nil {
			t.Errorf("ParseImageGlob(%q): %v", pattern, err)
			return
		}
		for i, images := range [][]string{match, other} {
			for _, image := range images {
				ref, err := ParseReference(image)
				if err != nil {
					t.Fatal(err)
				}
				if got := g.Match(ref.Name()); got != (i == 0) {
					t.Errorf("%q matches %s: %t", pattern, ref.Name(), got)
				}
			}
		}
	}
	f("**", []string{"nginx", "reg.test/a/b/c", "localhost:5000/x"}, nil)
	f("nginx", []string{"nginx", "docker.io/nginx:1", "index.docker.io/library/nginx"}, []string{"team/nginx", "reg.test/nginx", "nginx2"})
	f("team/*", []string{"team/app", "docker.io/team/x"}, []string{"nginx", "team/a/b", "reg.test/team/app"})
	f("docker.io/team/**", []string{"team/a/b"}, []string{"other/a"})
	f("docker.io/**", []string{"nginx", "team/a"}, []string{"reg.test/a"})
	f("docker.io/nginx", []string{"nginx"}, []string{"team/nginx"})
	f("reg.test/team/*", []string{"reg.test/team/a"}, []string{"reg.test/team/a/b", "reg.test/team", "xreg.test/team/a", "reg.test.evil.test/team/a", "reg-test/team/a"})
	f("reg.test/team/**", []string{"reg.test/team/a", "reg.test/team/a/b"}, []string{"reg.test/teams/a", "evil.test/reg.test/team/a"})
	f("*.test/**", []string{"a.test/x", "a.b.test/x"}, []string{"a.test.evil/x", "b/a.test/x"})
	f("**/app", []string{"reg.test/app", "reg.test/a/b/app", "team/app"}, []string{"reg.test/apps"})
	f("*/app", []string{"reg.test/app"}, []string{"team/app"})
	f("reg.test:5000/*", []string{"reg.test:5000/a"}, []string{"reg.test/a", "reg.test:50001/a"})
	f("Reg.Test/a", []string{"reg.test/a"}, nil)
	f("localhost/a", []string{"localhost/a"}, nil)
	f("reg.test/a.b", []string{"reg.test/a.b"}, []string{"reg.test/axb"})

	refused := func(pattern, why string) {
		t.Helper()
		if g, err := ParseImageGlob(pattern); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("ParseImageGlob(%q) = %v, %v, want an error with %q", pattern, g, err, why)
		}
	}
	refused("", "matches every image")
	refused("*", "stops at /")
	refused("registry.example.com", "registry.example.com/**")
	refused("localhost", "localhost/**")
	refused("reg.test/app:v1", "tags.deny")
	refused("nginx:1.25", "tags.deny")
	refused("nginx:1", "tags.deny")
	refused("reg.test:5000", "reg.test:5000/**")
	refused("localhost:5000", "localhost:5000/**")
	refused("reg.test/app:*", "tags.deny")
	refused("reg.test/app@sha256:*", "digest")
	refused("reg.test/App", "lower-case")
	refused("reg.test//app", "empty parts")
	refused("reg.test/", "empty parts")
	refused("/app", "empty parts")
	refused("reg.test/a b", "lower-case")
	refused("r g.test/a", "registry's name")
	refused("reg.test/***", "**")
	refused("https://reg.test/app", "empty parts")
}

func TestParseNamespaces(t *testing.T) {
	t.Parallel()
	f := func(patterns, in, out string) {
		t.Helper()
		n, _, err := ParseNamespaces(strings.Fields(patterns))
		if err != nil {
			t.Errorf("%q: %v", patterns, err)
		}
		for _, ns := range strings.Fields(in) {
			if !n.Match(ns) {
				t.Errorf("%q leaves out %q", patterns, ns)
			}
		}
		for _, ns := range strings.Fields(out) {
			if n.Match(ns) {
				t.Errorf("%q takes in %q", patterns, ns)
			}
		}
	}
	f("", "default kube-system", "")
	f("prod-*", "prod-a prod-", "prod xprod-a dev")
	f("!kube-system", "default", "kube-system")
	f("prod-* stage !prod-x", "prod-a stage", "prod-x dev stage2")
	for _, bad := range []string{"", "!", "Prod", "a/b", "a b", "ä"} {
		if _, i, err := ParseNamespaces([]string{"ok", bad}); err == nil || i != 1 {
			t.Errorf("%q: index %d, %v", bad, i, err)
		}
	}
}
