package engine

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/distribution/reference"
)

const someDigest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

var referenceSeeds = []string{
	"nginx", "nginx:1", "nginx:1@" + someDigest, "nginx@" + someDigest, "team/app", "team/app:v1",
	"docker.io/nginx", "index.docker.io/nginx", "docker.io/team/app", "index.docker.io/a/b/c:t", "docker.io/library/nginx",
	"registry.example.com/team/app:v1", "registry.example.com:5000/team/app", "localhost/x", "localhost:5000/x:y",
	"[::1]:5000/x", "[fe80::1]/x", "[::1]x/y", "[]/x", "[::1]:/x", "127.0.0.1:5000/x", "host:/x", "host:5a/x", "a:5000", "a:5000/b:c/d",
	"", "NGINX::::@@ //", "Nginx", "nginx:", "nginx@", "nginx:-x", "nginx:.x", "nginx:_x", "/nginx", "nginx/", "a//b", "a/b/",
	"Team/app", "Registry.example.com/x", "registry.example.com", "registry.example.com/", "-a.b/c", "a-.b/c", "a..b/c", ".a/b",
	"a_b/c", "a__b", "a___b", "a--b", "a---b", "a.b", "a..b", "a.-b", "a_.b", "a-_b", "-a", "a-", "a_", "a.",
	"a/b_c__d-e--f.g/h:T_a.g-1", strings.Repeat("a", 64), strings.Repeat("g", 64), strings.Repeat("a", 63), "x:" + strings.Repeat("t", 128), "x:" + strings.Repeat("t", 129),
	strings.Repeat("a/", 127) + "a", strings.Repeat("a/", 128) + "a", "x@sha512:" + strings.Repeat("0", 128), "x@sha256:" + strings.Repeat("A", 64), "x@" + someDigest + "0",
	"nginx:1 ", " nginx", "nginx\n", "nginx\x00", "ngi\u0378nx", "nginx:\u00e9", "a@b@c", "docker.io", "docker.io/", "docker.io/library/", "Docker.io/nginx",
	"xn--80ak6aa92e.com/x", "a.b:99999999999/c", "a:b:c", "a/b:c:d", "localhost", "localhost:1", "LOCALHOST/x", "a.b/C", "a_b.io/x", "0/0", "0.0/0",
}

// TestParseReference pins the normal form; that it is what container runtimes do is FuzzParseReference's matter.
func TestParseReference(t *testing.T) {
	f := func(s, want string, untagged bool) {
		t.Helper()
		r, err := ParseReference(s)
		if err != nil {
			t.Errorf("ParseReference(%q): %v", s, err)
		} else if r.String() != want || r.Untagged != untagged {
			t.Errorf("ParseReference(%q) = %s untagged=%t, want %s untagged=%t", s, r, r.Untagged, want, untagged)
		}
	}
	f("nginx", "index.docker.io/library/nginx:latest", true)
	f("nginx:latest", "index.docker.io/library/nginx:latest", false)
	f("docker.io/nginx", "index.docker.io/library/nginx:latest", true)
	f("team/app:v1", "index.docker.io/team/app:v1", false)
	f("nginx@"+someDigest, "index.docker.io/library/nginx@"+someDigest, false)
	f("nginx:1@"+someDigest, "index.docker.io/library/nginx:1@"+someDigest, false)
	f("localhost:5000/x", "localhost:5000/x:latest", true)
	f("registry.example.com/a/b", "registry.example.com/a/b:latest", true)
}

// againstRuntimes holds ParseReference against what container runtimes use: whatever it accepts they read the same way,
// and whatever they accept it accepts too, but for what it refuses on purpose.
func againstRuntimes(t *testing.T, s string) (accepted bool) {
	t.Helper()
	ours, err := ParseReference(s)
	named, theirErr := reference.ParseNormalizedNamed(s)
	if err != nil {
		if theirErr != nil {
			return false
		}
		digested, ok := named.(reference.Digested)
		otherAlgorithm := ok && digested.Digest().Algorithm() != "sha256"
		// Empty for a_b.io/x, which distribution's two regular expressions read differently.
		domain := reference.Domain(named)
		if !otherAlgorithm && domain != "" && domain == strings.ToLower(domain) && len(domain) <= maxRegistry {
			t.Fatalf("ParseReference(%q): %v, but distribution reads %s", s, err, named)
		}
		return false
	}
	if theirErr != nil {
		t.Fatalf("ParseReference(%q) = %s, but distribution says %v", s, ours, theirErr)
	}
	want := Reference{Registry: reference.Domain(named), Repository: reference.Path(named)}
	if want.Registry == "docker.io" {
		want.Registry = DockerHub
	}
	if tagged, ok := named.(reference.Tagged); ok {
		want.Tag = tagged.Tag()
	}
	if digested, ok := named.(reference.Digested); ok {
		want.Digest = Digest(digested.Digest())
	}
	if reference.IsNameOnly(named) {
		want.Tag, want.Untagged = "latest", true
	}
	if ours != want {
		t.Fatalf("ParseReference(%q) = %+v, distribution reads %+v", s, ours, want)
	}
	again, err := ParseReference(ours.String())
	again.Untagged = ours.Untagged
	if err != nil || again != ours {
		t.Fatalf("%q: the normal form %q reads as %+v, %v", s, ours.String(), again, err)
	}
	return true
}

func FuzzParseReference(f *testing.F) {
	for _, s := range referenceSeeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { againstRuntimes(t, s) })
}

// TestParseReferenceOfPieces puts what references are made of together at random, by a fixed seed.
func TestParseReferenceOfPieces(t *testing.T) {
	t.Parallel()
	pieces := []string{
		"a", "b0", ".", ":", "/", "@", "-", "--", "_", "__", "A", "0", "[", "]", "::1", "localhost", "docker.io", "index.docker.io",
		"library", "latest", someDigest, "sha512:", "reg.io", ":5000", " ", "\n", "é", strings.Repeat("a", 64), strings.Repeat("b", 100),
	}
	r := rand.New(rand.NewPCG(1, 2))
	accepted := 0
	for range 10_000 {
		var b strings.Builder
		for range r.IntN(7) + 1 {
			b.WriteString(pieces[r.IntN(len(pieces))])
		}
		if againstRuntimes(t, b.String()) {
			accepted++
		}
	}
	if accepted < 200 {
		t.Errorf("only %d references of 10,000 were any: the pieces show nothing", accepted)
	}
}
