package resolver

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"sluice/engine"
	"sluice/resolver/registrytest"
)

// registryProcess names the variable that makes the test binary a registry, so that what a client costs can be measured
// without its server.
const registryProcess = "SLUICE_TEST_REGISTRY"

func TestMain(m *testing.M) {
	if kind := os.Getenv(registryProcess); kind != "" {
		if err := serveRegistry(kind == "tls"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serveRegistry serves one image and one blob until standard input ends. It says where: host, digest, blob, CA file.
func serveRegistry(withTLS bool) error {
	reg, err := registrytest.New(registrytest.Options{TLS: withTLS})
	if err != nil {
		return err
	}
	defer reg.Close()
	d, err := reg.PushImage("team/app:1")
	if err != nil {
		return err
	}
	b, err := reg.PutBlob("team/app", []byte(strings.Repeat("x", 250)))
	if err != nil {
		return err
	}
	ca := "-"
	if withTLS {
		dir, err := os.MkdirTemp("", "sluice-registry")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		if ca, err = reg.WriteCA(dir); err != nil {
			return err
		}
	}
	fmt.Println(reg.Host(), d, b, ca)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// startProcess starts a registry in another process, and a Resolver for it.
func startProcess(b *testing.B, kind string) (r *Resolver, image engine.Reference, blob engine.Digest) {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), registryProcess+"="+kind), os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	f := strings.Fields(line)
	if err != nil || len(f) != 4 {
		b.Fatalf("the registry says %q, %v", line, err)
	}
	entry := Registry{Host: f[0], PlainHTTP: kind != "tls"}
	if kind == "tls" {
		entry.CAFile = f[3]
	}
	r = newTest(b, nil, Config{Registries: []Registry{entry}, TagTTL: 1}) // ns, so that it is asked for each time
	return r, ref(b, "%s/team/app:1", f[0]), engine.Digest(f[2])
}

// BenchmarkTrips is what the three trips of a cold verification cost this process: a tag, a manifest by tag, a blob.
// cpu-us/op is its user and system time; the registry is another process.
func BenchmarkTrips(b *testing.B) {
	for _, kind := range []string{"http", "tls"} {
		b.Run(kind, func(b *testing.B) {
			r, image, blob := startProcess(b, kind)
			ctx := b.Context()
			trips := func() {
				if _, err := r.Resolve(ctx, image, engine.KnownFacts); err != nil {
					b.Fatal(err)
				}
				if _, err := r.Manifest(ctx, image); err != nil {
					b.Fatal(err)
				}
				if _, err := r.Blob(ctx, image, blob, 250); err != nil {
					b.Fatal(err)
				}
			}
			trips() // connect
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				trips()
			}
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N)/1e3, "cpu-us/op")
		})
	}
}

// BenchmarkBareTrips is the same by net/http alone, with nothing checked: what BenchmarkTrips can't get below.
func BenchmarkBareTrips(b *testing.B) {
	for _, kind := range []string{"http", "tls"} {
		b.Run(kind, func(b *testing.B) {
			r, image, blob := startProcess(b, kind)
			e, image, err := r.endpoint(image)
			if err != nil {
				b.Fatal(err)
			}
			base := e.scheme() + "://" + e.host + "/v2/" + image.Repository
			urls := []string{base + "/manifests/1", base + "/manifests/1", base + "/blobs/" + string(blob)}
			trips := func() {
				for _, u := range urls {
					req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, u, nil)
					if err != nil {
						b.Fatal(err)
					}
					resp, err := e.transport.RoundTrip(req)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := io.ReadAll(resp.Body); err != nil {
						b.Fatal(err)
					}
					_ = resp.Body.Close()
				}
			}
			trips() // connect
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				trips()
			}
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N)/1e3, "cpu-us/op")
		})
	}
}

// cpu returns the user and system time that this process has used, in nanoseconds.
func cpu(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func BenchmarkResolveHit(b *testing.B) {
	reg := startRegistry(b, registrytest.Options{})
	push(b, reg, "team/app:1")
	r, image := plain(b, reg), ref(b, "%s/team/app:1", reg.Host())
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Resolve(ctx, image, engine.KnownFacts); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkManifest(b *testing.B) {
	for name, o := range map[string]registrytest.Options{
		"http": {}, "tls": {TLS: true}, "bearer": {TLS: true, Auth: registrytest.BearerAuth},
	} {
		b.Run(name, func(b *testing.B) {
			reg := startRegistry(b, o)
			digest := push(b, reg, "team/app:1")
			entry := Registry{Host: reg.Host(), PlainHTTP: !o.TLS}
			if o.TLS {
				entry.CAFile = caFile(b, reg)
			}
			r, image := newTest(b, nil, Config{Registries: []Registry{entry}}), ref(b, "%s/team/app@%s", reg.Host(), digest)
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Manifest(ctx, image); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
