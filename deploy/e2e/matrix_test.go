package e2e

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
)

// The matrix shows what of all that cosign makes is accepted, and that for each there is a near twin that is refused,
// with the reason that it should be. MATRIX.md is written from its rows.

// row is one line of it: an image with what a tool attached to it, and a policy that it is judged by.
type row struct {
	form
	by   string // whose signature: the key's algorithm, or the identity
	what string // is attached
	on   string // a registry of [matrix.registries]

	attach  func(s *signing) // to s.image
	policy  policy
	refused string // the reason, if even this is refused; empty if it is accepted
	twin    twin
}

// twin is almost the same. It differs by what is set here: another image with something else attached, or another
// policy over the same image.
type twin struct {
	is     string
	attach func(s *signing)
	policy *policy
	reason string
	why    string // what the decision log says beside it, if it is set
}

// Why a twin is refused, where the reason alone leaves open whether it is for what the twin differs in.
const (
	wrongKey      = "the signature is by another key"
	notItsEntry   = "its entry in a trusted log is not good"
	noEntry       = "it has no entry of a trusted log"
	noTimestamp   = "it has timestamps of 0 trusted authorities, not 1"
	nobodyVouches = "no entry of a trusted log and no timestamp of a trusted authority tells that its certificate was valid"
	notNow        = "its certificate is not valid now"
	notThen       = "when its certificate was not valid"
	noSCT         = "its certificate has no SCT of a trusted certificate transparency log"
	otherCA       = "it was signed with a certificate of another authority"
)

func rows() []row {
	return slices.Concat(keyRows(), policyRows(), keylessRows(), vouchedRows(), ownPKIRows())
}

// policy is the part of a policy document that the rows differ in, in YAML. It is made once the keys are.
type policy struct {
	authorities [][]field
	spec        string // what stands beside the authorities
}

// requires is a policy of one authority.
func requires(fields ...field) policy { return policy{authorities: [][]field{fields}} }

// field is a field of an authority: YAML, or a function that makes it of what the rows use.
type field any

func keyOf(algorithm string) field {
	return func(m *matrix) string { return fmt.Sprintf("key: {file: %q}", m.keys[algorithm].public) }
}

// matrix is what all rows use.
type matrix struct {
	*keyless
	keys       map[string]key    // by algorithm
	pems       map[string][]byte // the public ones
	registries map[string]*registry
	service    *service
	apiserver  *apiserver
	pki        ownPKI
}

// The registries: one with the fallback tag for referrers, and one with the API.
const (
	fallbackTag  = "fallback tag"
	referrersAPI = "referrers API"
)

// The namespaces that a row's two policies are for.
const (
	namespace     = "accept"
	namespaceTwin = "twin"
)

func (r row) repository(number int) string { return fmt.Sprintf("matrix/%03d", number) }

func TestMatrix(t *testing.T) {
	t.Parallel()
	m := newMatrix(t)
	for number, r := range rows() {
		t.Run(fmt.Sprintf("%03d %s", number, r.title()), func(t *testing.T) {
			t.Parallel()
			r.run(t, m, number)
		})
	}
}

func (r row) title() string {
	return strings.Join([]string{r.tool, r.format, r.by, r.what, r.on}, ", ")
}

func (r row) run(t *testing.T, m *matrix, number int) {
	registry := m.registries[r.on]
	s := &signing{t, m, registry, registry.push(t, r.repository(number), "1")}
	r.attach(s)
	m.verdict(t, namespace, s.image, r.refused, "")
	if r.twin.is == "" {
		return
	}
	if r.twin.attach != nil {
		s = &signing{t, m, registry, registry.push(t, r.repository(number)+"/twin", "1")}
		r.twin.attach(s)
	}
	m.verdict(t, namespaceTwin, s.image, r.twin.reason, r.twin.why)
}

// verdict asks the service, as the plugin does.
func (m *matrix) verdict(t *testing.T, namespace string, i image, reason, why string) {
	t.Helper()
	p := pod(i.byDigest())
	p.Namespace = namespace
	got := m.apiserver.create(t, p)
	if reason == "" {
		got.allowed(t)
		return
	}
	got.denied(t, reason, i.byDigest())
	if why == "" {
		return
	}
	eventually(t, func() error {
		for line := range strings.Lines(m.service.process.stderr.String()) {
			if strings.Contains(line, i.byDigest()) && strings.Contains(line, why) {
				return nil
			}
		}
		return fmt.Errorf("the decision log does not say %q of %s", why, i.byDigest())
	})
}

// newMatrix starts what the rows use, with the policies of all of them.
func newMatrix(t *testing.T) *matrix {
	t.Helper()
	api := httptest.NewServer(ggcr.New(ggcr.WithReferrersSupport(true), ggcr.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(api.Close)
	m := &matrix{keyless: keylessStack(t), keys: map[string]key{}, pems: map[string][]byte{}, registries: map[string]*registry{
		fallbackTag: shared.registry, referrersAPI: {host: strings.TrimPrefix(api.URL, "http://")},
	}}
	m.makeKeys(t)
	m.pki = newOwnPKI(t)
	m.service = initService(t, settings{registries: []string{shared.registry.host, m.registries[referrersAPI].host}})
	for number, r := range rows() {
		repository := m.registries[r.on].host + "/" + r.repository(number)
		write := func(namespace string, p policy) {
			name := fmt.Sprintf("%s-%03d", namespace, number)
			must(t, os.WriteFile(m.service.file("policies/"+name+".yaml"), p.yaml(m, name, namespace, repository), 0o644))
		}
		write(namespace, r.policy)
		if r.twin.policy != nil {
			write(namespaceTwin, *r.twin.policy)
		} else if r.twin.is != "" {
			write(namespaceTwin, r.policy)
		}
	}
	m.service.start(t)
	m.apiserver = m.service.failClosed(t)
	return m
}

func (p policy) yaml(m *matrix, name, namespace, repository string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "apiVersion: sluice/v1\nkind: ImagePolicy\nmetadata: {name: %s}\nspec:\n", name)
	fmt.Fprintf(&b, "  namespaces: [%s]\n  images: [{glob: %q}, {glob: %q}]\n", namespace, repository, repository+"/**")
	fmt.Fprintf(&b, "  authorities:\n")
	for i, fields := range p.authorities {
		fmt.Fprintf(&b, "  - name: %s\n", []string{"release", "second"}[i])
		for _, f := range fields {
			switch f := f.(type) {
			case string:
				fmt.Fprintf(&b, "    %s\n", f)
			case func(m *matrix) string:
				fmt.Fprintf(&b, "    %s\n", f(m))
			}
		}
	}
	if p.spec != "" {
		fmt.Fprintf(&b, "  %s\n", p.spec)
	}
	return b.Bytes()
}

var update = flag.Bool("update", os.Getenv("SLUICE_UPDATE_MATRIX") == "1", "write MATRIX.md anew")

// MATRIX.md says what TestMatrix shows.
func TestMatrixDocument(t *testing.T) {
	t.Parallel()
	const file = "MATRIX.md"
	want := document()
	if *update {
		must(t, os.WriteFile(file, want, 0o644))
		return
	}
	got, err := os.ReadFile(filepath.Clean(file))
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the rows say: run deploy/e2e/run -run TestMatrixDocument with SLUICE_UPDATE_MATRIX=1", file)
	}
}

// Every form is there with every algorithm, with everything that can be attached, and in both registries.
func TestMatrixCovers(t *testing.T) {
	t.Parallel()
	have := map[[2]string]bool{}
	for _, r := range rows() {
		of := r.tool + " " + r.format
		have[[2]string{of, r.by}], have[[2]string{of, r.what}], have[[2]string{of, r.on}] = true, true, true
	}
	for _, f := range []form{classic, bundle2, oci11, bundle3} {
		wanted := []string{
			p256, p384, rsa2048, rsa4096, ed, fallbackTag, referrersAPI, "signature", "annotations", "index, recursively",
		}
		if f.format == bundle2.format && f.tool == bundle2.tool {
			wanted = slices.DeleteFunc(wanted, func(w string) bool { return w == "annotations" }) // it leaves them out
		}
		if f.format != oci11.format { // in which it does not attest
			for _, p := range []predicate{slsa, spdx, cyclonedx, vuln, link, custom} {
				wanted = append(wanted, p.kind)
			}
		}
		for _, w := range wanted {
			if of := f.tool + " " + f.format; !have[[2]string{of, w}] {
				t.Errorf("no row has %s with %s", of, w)
			}
		}
	}
}

func document() []byte {
	var b bytes.Buffer
	b.WriteString(documentHead)
	b.WriteString("| tool | key or identity | format | what | registry | verdict | near twin | its reason |\n")
	b.WriteString("| --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, r := range rows() {
		verdict, twin, reason := "accepted", r.twin.is, "`"+r.twin.reason+"`"
		if r.refused != "" {
			verdict = "refused: `" + r.refused + "`"
		}
		if twin == "" {
			twin, reason = "", ""
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join([]string{r.tool, r.by, r.format, r.what, r.on, verdict, twin, reason}, " | "))
	}
	return b.Bytes()
}

const documentHead = `# What is accepted, and what is not

Every line is a test: the tool signs an image in a registry, a running sluice is asked about it, and then about a near
twin, which it must refuse for the reason given. This file is written from that test
(` + "`SLUICE_UPDATE_MATRIX=1 deploy/e2e/run -run TestMatrixDocument`" + `).

The registries are Debian's docker-registry, which has no referrers API, so that bundles are found by the fallback tag
` + "`sha256-<hex>`" + `, and go-containerregistry's, which has that API. What is signed without a key has its certificate from
Fulcio, by tokens of an issuer made for the test. Fulcio, Rekor v2 and the timestamp authority are the real ones; in
place of Rekor v1, which wants a database, and of the certificate transparency log the test answers itself.

`
