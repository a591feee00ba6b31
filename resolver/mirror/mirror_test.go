package mirror

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// write makes files below a new directory, and returns that.
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// TestParse reads what containerd's own test does (core/remotes/docker/config/hosts_test.go), and then some.
func TestParse(t *testing.T) {
	t.Parallel()
	got, err := parse("/dir", []byte(`
server = "https://test-default.registry"
ca = "/etc/path/default"
unknown = 1
[header]
  x-custom-1 = "custom header"

[host."https://mirror.registry"]
  capabilities = ["pull"]
  ca = "/etc/certs/mirror.pem"
  skip_verify = false
  later_key = {a = ["b"]}
  [host."https://mirror.registry".header]
    x-custom-2 = ["value1", "value2"]

[host."https://mirror-bak.registry/us"]
  capabilities = ["pull"]
  skip_verify = true

[host."http://mirror.registry"]
  capabilities = ["pull"]

[host."https://test-1.registry"]
  capabilities = ["pull", "resolve", "push", "referrers"]
  ca = ["/etc/certs/test-1-ca.pem", "special.pem"]
  client = [["/etc/certs/client.cert", "client.key"],["/etc/certs/client.pem", ""]]

[host."https://test-2.registry"]
  client = "client.pem"

[host."https://test-3.registry"]
  client = ["/etc/certs/client-1.pem", "/etc/certs/client-2.pem"]

[host."https://no-referrers.registry"]
  capabilities = ["Pull", "RESOLVE", "push"]

[host."https://noncompliantmirror.registry/v2/namespaceprefix"]
  capabilities = ["pull"]
  override_path = true

[host."https://noprefixnoncompliant.registry"]
  override_path = true

[host."https://onlyheader.registry".header]
  x-custom-1 = "justaheader"

[host."https://dial-timeout.registry"]
  dial_timeout = "3s"

[host."bare.registry:5000/proxy/../hub/"]
[host."https://done.registry/a/v2"]
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Host{
		{
			Scheme: "https", Host: "mirror.registry", Path: "/v2", Capabilities: Pull, CAFiles: []string{"/etc/certs/mirror.pem"},
			TLS: true, Header: map[string][]string{"x-custom-2": {"value1", "value2"}},
		},
		{Scheme: "https", Host: "mirror-bak.registry", Path: "/us/v2", Capabilities: Pull, SkipVerify: true, TLS: true},
		{Scheme: "http", Host: "mirror.registry", Path: "/v2", Capabilities: Pull},
		{
			Scheme: "https", Host: "test-1.registry", Path: "/v2", Capabilities: all, TLS: true,
			CAFiles:     []string{"/etc/certs/test-1-ca.pem", "/dir/special.pem"},
			ClientPairs: []ClientPair{{"/etc/certs/client.cert", "/dir/client.key"}, {"/etc/certs/client.pem", ""}},
		},
		{
			Scheme: "https", Host: "test-2.registry", Path: "/v2", Capabilities: all, TLS: true,
			ClientPairs: []ClientPair{{Certificate: "/dir/client.pem"}},
		},
		{
			Scheme: "https", Host: "test-3.registry", Path: "/v2", Capabilities: all, TLS: true,
			ClientPairs: []ClientPair{{Certificate: "/etc/certs/client-1.pem"}, {Certificate: "/etc/certs/client-2.pem"}},
		},
		{Scheme: "https", Host: "no-referrers.registry", Path: "/v2", Capabilities: Pull | Resolve | Push},
		{Scheme: "https", Host: "noncompliantmirror.registry", Path: "/v2/namespaceprefix", Capabilities: Pull},
		{Scheme: "https", Host: "noprefixnoncompliant.registry", Capabilities: all},
		{
			Scheme: "https", Host: "onlyheader.registry", Path: "/v2", Capabilities: all,
			Header: map[string][]string{"x-custom-1": {"justaheader"}},
		},
		{Scheme: "https", Host: "dial-timeout.registry", Path: "/v2", Capabilities: all, DialTimeout: 3 * time.Second},
		{Scheme: "https", Host: "bare.registry:5000", Path: "/hub/v2", Capabilities: all},
		{Scheme: "https", Host: "done.registry", Path: "/a/v2", Capabilities: all},
		{
			Scheme: "https", Host: "test-default.registry", Path: "/v2", Capabilities: all, TLS: true,
			CAFiles: []string{"/etc/path/default"}, Header: map[string][]string{"x-custom-1": {"custom header"}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestOrder: tables count as they follow one another, as containerd sees them, and what is no table of its own does not.
func TestOrder(t *testing.T) {
	t.Parallel()
	f := func(doc string, want ...string) {
		t.Helper()
		hosts, err := parse("/dir", []byte(doc))
		if err != nil {
			t.Error(err)
			return
		}
		var got []string
		for _, h := range hosts {
			got = append(got, h.Host)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q", doc, got)
		}
	}
	f(``, "")
	f(`server = "o.test"`, "o.test")
	f("[host.\"b.test\"]\n[host.\"a.test\"]\n[host.\"c.test\"]", "b.test", "a.test", "c.test", "")
	f("[host.\"b.test\".header]\n[host.\"a.test\"]\n[host.\"b.test\"]", "b.test", "a.test", "b.test", "")
	f("[host]\n\"b.test\" = {}", "")
	f("host = {\"b.test\" = {}}", "")
	f("[other.\"b.test\"]\n[host.'a.test']", "a.test", "")
	f("capabilities = [\"pull\"]\n[host.\"a.test\"]", "a.test", "")
}

func TestTheRegistryItselfCanDoAll(t *testing.T) {
	t.Parallel()
	got, err := parse("/dir", []byte("capabilities = [\"pull\"]\nskip_verify = true"))
	if want := []Host{{Path: "/v2", Capabilities: all, SkipVerify: true, TLS: true}}; err != nil || !cmp.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err = parse("/dir", []byte("server = \"o.test\"\ncapabilities = [\"pull\"]")); err != nil || got[0].Capabilities != Pull {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestErrorsSayWhere(t *testing.T) {
	t.Parallel()
	f := func(want, doc string) {
		t.Helper()
		root := write(t, map[string]string{"r.test/hosts.toml": doc})
		_, err := Read([]string{root}, "r.test")
		path := filepath.Join(root, "r.test", "hosts.toml")
		if err == nil || !strings.HasPrefix(err.Error(), path+":") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", doc, err)
		}
	}
	f(":2:7: ", "server = \"o.test\"\n[host.]x")
	f(":1:", "server = 3")
	f(`[host."m.test"]: capabilities: "fetch" is none`, "[host.\"m.test\"]\ncapabilities = [\"fetch\"]")
	f("ca: ", "ca = 3")
	f("ca: ", "ca = [\"a\", 3]")
	f("client: ", "client = 3")
	f("client: ", "client = [3]")
	f("client: a pair is", "client = [[\"a\"]]")
	f("client: a pair is", "client = [[\"a\", 3]]")
	f("header \"x\": ", "[header]\nx = 3")
	f("header \"x\": ", "[header]\nx = [3]")
	f("header \"a b\": ", "[header]\n\"a b\" = \"s3cret\"")
	f("header \"x\": ", "[header]\nx = \"s3cret\\r\\ny: z\"")
	f("dial_timeout: ", "dial_timeout = \"fast\"")
	f("dial_timeout is negative", "dial_timeout = \"-1s\"")
	f("neither https nor http", "server = \"httpd.test:5000\"")
	f("user name", "server = \"https://u:s3cret@o.test\"")
	f("is no address", "server = \"https://o.test:port\"")
	f("has no host", "server = \"https://\"")
	f("more than 63 hosts", hosts(10_000))
	f("it is larger than 256 KiB", "# "+strings.Repeat("x", maxFile))
	f("more than 256 certificates", "ca = ["+strings.Repeat("\"a\",", 257)+"]")
	f("", strings.Repeat("a=[", maxFile/3))
	f("", "a = "+strings.Repeat("[", maxFile-4))
	f("", "a = "+strings.Repeat("{a=", maxFile/3-2))
	f("", "a"+strings.Repeat(".a", maxFile/2-2))
}

func hosts(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "[host.\"%d.t\"]\n", i)
	}
	return b.String()
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	first := write(t, map[string]string{
		"r.test:5000/hosts.toml": "", "r.test_5000_/hosts.toml": "", "colon.test:5000/hosts.toml": "",
		"docker.io/hosts.toml": "", "[::1]_5000_/hosts.toml": "",
	})
	second := write(t, map[string]string{"_default/hosts.toml": "", "r.test:5000/hosts.toml": ""})
	third := write(t, map[string]string{"late.test/hosts.toml": ""})
	roots := []string{first, filepath.Join(first, "missing"), second, third}
	f := func(host, want string) {
		t.Helper()
		if got, err := Directory(roots, host); err != nil || got != want {
			t.Errorf("%s: %s, %v", host, got, err)
		}
	}
	f("r.test:5000", first+"/r.test_5000_")
	f("colon.test:5000", first+"/colon.test:5000")
	f("docker.io", first+"/docker.io")
	f("index.docker.io", first+"/docker.io")
	f("registry-1.docker.io", first+"/docker.io")
	f("[::1]:5000", first+"/[::1]_5000_")
	f("late.test", second+"/_default") // a root's default comes before the next root
	roots = []string{second}
	f("r.test:5000", second+"/r.test:5000") // before it
	roots = []string{first}
	f("late.test", "")
	f("r.test", "")
	for _, bad := range []string{"", "..", ".", "a/b", `a\b`, "../x", "a\x00b"} {
		if got, err := Directory(roots, bad); err == nil {
			t.Errorf("%q: %s", bad, got)
		}
	}
	if got, err := Read(roots, "late.test"); got != nil || err != nil {
		t.Errorf("no directory: %+v, %v", got, err)
	}
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	root := write(t, map[string]string{
		"r.test/ca.crt": "x", "r.test/more.crt": "x", "r.test/one.cert": "x", "r.test/one.key": "x", "r.test/two.cert": "x",
		"r.test/odd.pem": "x", "r.test/dir.crt/x": "x",
		"empty.test/hosts.toml": "", "empty.test/ca.crt": "x", "none.test/x": "",
		"full.test/hosts.toml": "# nothing", "full.test/ca.crt": "x",
	})
	f := func(host string, want Host) {
		t.Helper()
		want.Path, want.Capabilities = "/v2", all
		got, err := Read([]string{root}, host)
		if diff := cmp.Diff([]Host{want}, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", host, err, diff)
		}
	}
	dir := root + "/r.test/"
	f("r.test", Host{
		CAFiles: []string{dir + "ca.crt", dir + "more.crt"}, TLS: true,
		ClientPairs: []ClientPair{{dir + "one.cert", dir + "one.key"}, {dir + "two.cert", ""}},
	})
	f("empty.test", Host{CAFiles: []string{root + "/empty.test/ca.crt"}, TLS: true})
	f("none.test", Host{})
	f("full.test", Host{})
	many := map[string]string{}
	for i := range maxCertificates + 1 {
		many[fmt.Sprintf("r.test/%d.crt", i)] = ""
	}
	if _, err := Read([]string{write(t, many)}, "r.test"); err == nil || !strings.Contains(err.Error(), "more than 256") {
		t.Error(err)
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	root := write(t, map[string]string{
		"a.test/hosts.toml":      "ca = \"/etc/ca.pem\"\n[host.\"m.test\"]\nclient = [[\"c.pem\", \"k.pem\"], \"both.pem\"]",
		"broken.test/hosts.toml": "x", "certs.test/ca.crt": "", "certs.test/c.cert": "", "certs.test/c.key": "", "file": "",
	})
	if err := os.Symlink(filepath.Join(root, "a.test"), filepath.Join(root, "link.test")); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, name := range []string{
		"", "a.test", "a.test/hosts.toml", "a.test/c.pem", "a.test/k.pem", "a.test/both.pem",
		"broken.test", "broken.test/hosts.toml", "certs.test", "certs.test/hosts.toml", "certs.test/ca.crt", "certs.test/c.cert", "certs.test/c.key",
		"link.test", "link.test/hosts.toml", "link.test/c.pem", "link.test/k.pem", "link.test/both.pem",
	} {
		want = append(want, filepath.Join(root, name))
	}
	missing := filepath.Join(root, "zz")
	want = append(want, "/etc/ca.pem", missing)
	slices.Sort(want)
	if diff := cmp.Diff(want, Files([]string{root, missing})); diff != "" {
		t.Error(diff)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("server = \"https://o.test/x\"\n[host.\"m.test\"]\ncapabilities = [\"pull\"]\nclient = [[\"a\",\"b\"]]\n[host.\"m.test\".header]\na = [\"b\"]"))
	f.Add([]byte("[host]\n[[host.x]]\nca=[1]"))
	f.Add([]byte("[host.\"\"]\n[host.\"http://[::1]:5000/%2f\"]\noverride_path=true"))
	f.Fuzz(func(t *testing.T, b []byte) {
		hosts, err := parse("/dir", b)
		if (err == nil) != (len(hosts) > 0) || len(hosts) > MaxHosts {
			t.Fatalf("%d hosts, %v", len(hosts), err)
		}
		for i, h := range hosts {
			if h.Own() != (h.Scheme == "") || h.Scheme != "" && h.Scheme != "http" && h.Scheme != "https" ||
				h.Path != "" && h.Path[0] != '/' || h.Capabilities == 0 {
				t.Errorf("host %d of %d: %+v", i, len(hosts), h)
			}
		}
	})
}
