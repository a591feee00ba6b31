package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"sluice/deploy"
	"sluice/resolver/registrytest"
)

func newDemo() *cobra.Command {
	var (
		keep   bool
		output string
	)
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See the main job: a registry, signed and unsigned images, the service, real reviews, the verdicts",
		Long: `Start, in this process and on loopback only: a registry with a signed, an unsigned and a wrongly signed image; the
service, with certificates of its own; and a client that asks as the apiserver does, over HTTP/2 with a client
certificate. Print what was asked and answered, and how long that took, cold and warm.`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "leave it all running afterwards, to be tried with curl, until interrupted")
	check := outputFlag(cmd, &output)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := check(); err != nil {
			return err
		}
		dir, err := os.MkdirTemp("", "sluice-demo-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		return runDemo(cmd.Context(), dir, keep, output, cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// demo is what the demonstration runs on.
type demo struct {
	dir      string
	registry *registrytest.Registry
	service  *service
	client   *http.Client
	digest   string // of the signed image
}

func runDemo(ctx context.Context, dir string, keep bool, output string, stdout, stderr io.Writer) error {
	d := &demo{dir: dir}
	defer d.close()
	if err := d.fill(); err != nil {
		return err
	}
	if err := d.configure(); err != nil {
		return err
	}
	s, err := newService(ctx, serveFlags{config: filepath.Join(dir, "sluice.yaml"), logLevel: "error"}, stderr)
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(ctx)
	defer stop()
	if err := s.listen(); err != nil {
		s.close()
		return err
	}
	d.service = s
	var g errgroup.Group
	g.Go(func() error { return s.serve(serving, 0) })
	if err := d.connect(); err != nil {
		return err
	}
	var rows []demoRow
	for _, ask := range d.reviews() {
		row, err := d.ask(ctx, ask)
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	if output == "json" {
		err = json.NewEncoder(stdout).Encode(rows)
	} else {
		err = d.print(stdout, rows, keep)
	}
	if err != nil {
		return err
	}
	if keep {
		<-ctx.Done()
	}
	d.client.CloseIdleConnections()
	stop()
	return g.Wait()
}

// fill starts the registry, and puts the images in.
func (d *demo) fill() error {
	registry, err := registrytest.New(registrytest.Options{TLS: true})
	if err != nil {
		return err
	}
	d.registry = registry
	release, err := registrytest.GenerateKey(registrytest.P256)
	if err != nil {
		return err
	}
	stranger, err := registrytest.GenerateKey(registrytest.P256)
	if err != nil {
		return err
	}
	for _, image := range []struct {
		name string
		key  *registrytest.Key
	}{{"shop/web:signed", &release}, {"shop/web:unsigned", nil}, {"shop/web:wrongly-signed", &stranger}} {
		digest, err := registry.PushImage(image.name)
		if err != nil {
			return err
		}
		if image.key == &release {
			d.digest = digest
		}
		if image.key != nil {
			if err := registry.Sign("shop/web", digest, *image.key, registrytest.SignOptions{}); err != nil {
				return err
			}
		}
	}
	if err := os.WriteFile(filepath.Join(d.dir, "release.pub"), release.PublicPEM, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(d.dir, "registry-ca.crt"), registry.CA(), 0o644)
}

// configure writes what an operator would: certificates, a configuration, and two policies.
func (d *demo) configure() error {
	bundle, err := deploy.Render(deploy.Options{Server: "https://127.0.0.1:8443"})
	if err != nil {
		return err
	}
	if err := bundle.Write(d.dir, false); err != nil {
		return err
	}
	config := fmt.Sprintf(`apiVersion: sluice/v1
kind: Config
listen: 127.0.0.1:0
admin: {listen: "127.0.0.1:0"}
tls: {certFile: pki/server.crt, keyFile: pki/server.key, clientCAFile: pki/ca.crt}
policies: [demo.yaml]
registries:
- {host: %q, caFile: registry-ca.crt}
`, d.registry.Host())
	policies := fmt.Sprintf(`apiVersion: sluice/v1
kind: ImagePolicy
metadata: {name: shop-is-signed}
spec:
  images: [{glob: %q}]
  authorities:
  - {name: release-key, key: {file: release.pub}}
---
apiVersion: sluice/v1
kind: ImagePolicy
metadata: {name: no-latest}
spec:
  images: [{glob: "**"}]
  tags: {deny: [latest]}
`, d.registry.Host()+"/shop/**")
	if err := os.WriteFile(filepath.Join(d.dir, "demo.yaml"), []byte(policies), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(d.dir, "sluice.yaml"), []byte(config), 0o644)
}

// connect makes the client: what client-go makes of the rendered kubeconfig, which is HTTP/2 with a client certificate.
func (d *demo) connect() error {
	cert, err := tls.LoadX509KeyPair(filepath.Join(d.dir, "pki/client.crt"), filepath.Join(d.dir, "pki/client.key"))
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(filepath.Join(d.dir, "pki/ca.crt"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return errors.New("pki/ca.crt holds no certificate")
	}
	d.client = &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
	}}
	return nil
}

// demoReview is one review to ask for.
type demoReview struct {
	what   string
	images []string
}

func (d *demo) reviews() []demoReview {
	web := d.registry.Host() + "/shop/web"
	return []demoReview{
		{"signed by the release key", []string{web + ":signed"}},
		{"not signed", []string{web + ":unsigned"}},
		{"signed by a stranger's key", []string{web + ":wrongly-signed"}},
		{"signed, by digest", []string{web + "@" + d.digest}},
		{"a pod of two, one not signed", []string{web + ":signed", web + ":unsigned"}},
		{"no tag", []string{"nginx"}},
		{"a tag, and no signature asked for", []string{"nginx:1.29"}},
	}
}

// demoRow is what came of it.
type demoRow struct {
	What    string        `json:"what"`
	Images  []string      `json:"images"`
	Allowed bool          `json:"allowed"`
	Reason  string        `json:"reason"`
	Message string        `json:"message,omitempty"`
	Cold    time.Duration `json:"coldNanoseconds"`
	Warm    time.Duration `json:"warmNanoseconds"` // median
}

// warmReviews is how often a review is repeated for its warm time.
const warmReviews = 101

func (d *demo) ask(ctx context.Context, ask demoReview) (demoRow, error) {
	row := demoRow{What: ask.what, Images: ask.images}
	body := d.body(ask.images)
	// The first connection's handshake is no part of a review: the apiserver keeps its connection.
	if err := d.review(ctx, d.body([]string{"warm-up:1"}), new(demoRow)); err != nil {
		return row, err
	}
	began := time.Now()
	if err := d.review(ctx, body, &row); err != nil {
		return row, err
	}
	row.Cold = time.Since(began)
	warm := make([]time.Duration, warmReviews)
	for i := range warm {
		began = time.Now()
		if err := d.review(ctx, body, &row); err != nil {
			return row, err
		}
		warm[i] = time.Since(began)
	}
	slices.Sort(warm)
	row.Warm = warm[len(warm)/2]
	return row, nil
}

func (d *demo) body(images []string) []byte {
	type container struct {
		Image string `json:"image"`
	}
	var containers []container
	for _, image := range images {
		containers = append(containers, container{image})
	}
	body, err := json.Marshal(map[string]any{
		"kind": "ImageReview", "apiVersion": "imagepolicy.k8s.io/v1alpha1", "metadata": map[string]any{},
		"spec":   map[string]any{"containers": containers, "namespace": "default"},
		"status": map[string]any{"allowed": false},
	})
	if err != nil {
		panic(err) // strings and maps of strings
	}
	return body
}

func (d *demo) url() string {
	return "https://" + d.service.front.Addr().String() + deploy.DefaultPath
}

func (d *demo) review(ctx context.Context, body []byte, row *demoRow) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url()+"?timeout=30s", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, */*")
	resp, err := d.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var reply struct {
		Status struct {
			Allowed          bool              `json:"allowed"`
			Reason           string            `json:"reason"`
			AuditAnnotations map[string]string `json:"auditAnnotations"`
		} `json:"status"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&reply); err != nil || resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
		return fmt.Errorf("the service answered %s over %s: %w", resp.Status, resp.Proto, err)
	}
	row.Allowed, row.Message = reply.Status.Allowed, reply.Status.Reason
	row.Reason = reply.Status.AuditAnnotations["reason"]
	return nil
}

func (d *demo) print(w io.Writer, rows []demoRow, keep bool) error {
	host := d.registry.Host()
	fmt.Fprintf(w, `A registry at %s, the service at %s, and a client that speaks as the apiserver does (HTTP/2, mTLS).
Policy shop-is-signed: images of %s/shop/** need a signature by the release key.
Policy no-latest: no image may have the tag latest, or none.

`, host, d.url(), host)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "REVIEW\tVERDICT\tREASON\tCOLD\tWARM\n")
	for _, r := range rows {
		verdict := "deny"
		if r.Allowed {
			verdict = "allow"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%.1f ms\t%.2f ms\n", r.What, verdict, r.Reason, millis(r.Cold), millis(r.Warm))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nWhat the pods' authors read:\n")
	for _, r := range rows {
		if !r.Allowed {
			fmt.Fprintf(w, "- %s\n", r.Message)
		}
	}
	if !keep {
		_, err := fmt.Fprintf(w, "\nsluice demo --keep leaves it running, and prints a curl command for more.\n")
		return err
	}
	pki := filepath.Join(d.dir, "pki")
	_, err := fmt.Fprintf(w, `
Try more (interrupt to end):

curl --cacert %s/ca.crt --cert %s/client.crt --key %s/client.key %s \
  -d '%s'
`, pki, pki, pki, d.url(), strings.TrimSpace(string(d.body([]string{host + "/shop/web:unsigned"}))))
	return err
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (d *demo) close() {
	if d.registry != nil {
		d.registry.Close()
	}
}
