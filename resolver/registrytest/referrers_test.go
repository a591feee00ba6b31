package registrytest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// list follows a list of referrers from page to page.
func list(t *testing.T, r *Registry, path string) (digests []string, pages int) {
	t.Helper()
	c := client(t, r)
	for path != "" {
		resp, body, err := get(t, c, r.URL()+path)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v, %s", path, err, body)
		}
		var index v1.IndexManifest
		if err := json.Unmarshal(body, &index); err != nil {
			t.Fatal(err)
		}
		for _, d := range index.Manifests {
			digests = append(digests, d.Digest.String())
		}
		pages++
		path, _, _ = strings.Cut(strings.TrimPrefix(resp.Header.Get("Link"), "<"), ">")
	}
	return digests, pages
}

func TestReferrers(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{{}, {Referrers: true}, {Referrers: true, ReferrersPage: 2}} {
		r := start(t, o)
		image := must(r.PushImage("a:1"))(t)
		want := []string{
			must(r.PutReferrer("a", image, BundleMediaType, "", SignatureLayer{Payload: []byte("x")}))(t),
			must(r.PutReferrer("a", image, "", "application/vnd.dev.cosign.artifact.sig.v1+json"))(t),
		}
		if err := r.PutJunk("a", image, "application/junk", "application/junk", 3); err != nil {
			t.Fatal(err)
		}
		path, pages := "/v2/a/referrers/"+image, 1
		if !o.Referrers {
			path = "/v2/a/manifests/" + FallbackTag(image)
		} else if o.ReferrersPage > 0 {
			pages = 3
		}
		got, n := list(t, r, path)
		if len(got) != 5 || !slices.Contains(got, want[0]) || !slices.Contains(got, want[1]) || n != pages {
			t.Errorf("%+v: %v on %d pages", o, got, n)
		}
		resp, _, err := get(t, client(t, r), r.URL()+"/v2/a/referrers/"+image)
		if err != nil || (resp.StatusCode == http.StatusOK) != o.Referrers {
			t.Errorf("%+v: the API answers %v, %v", o, resp, err)
		}
		if n := r.Counts().Referrers; (n > 1) != o.Referrers {
			t.Errorf("%+v: %d requests counted", o, n)
		}
		r.SetFault(Referrers, Status(500))
		if resp, _, err = get(t, client(t, r), r.URL()+"/v2/a/referrers/"+image); err != nil || resp.StatusCode != 500 {
			t.Errorf("a fault: %v, %v", resp, err)
		}
	}
}

func TestPutReferrer(t *testing.T) {
	t.Parallel()
	r := start(t, Options{})
	image := must(r.PushImage("a:1"))(t)
	d := must(r.PutReferrer("a", image, BundleMediaType, "", SignatureLayer{
		Payload: []byte("bundle"), Annotations: map[string]string{"k": "v"},
	}))(t)
	var m struct {
		ArtifactType string
		Config       v1.Descriptor
		Subject      v1.Descriptor
		Layers       []v1.Descriptor
	}
	if err := json.Unmarshal(must(r.Raw("a", d))(t), &m); err != nil {
		t.Fatal(err)
	}
	if m.ArtifactType != BundleMediaType || m.Config.MediaType != EmptyMediaType || m.Subject.Digest.String() != image ||
		m.Subject.Size == 0 || len(m.Layers) != 1 || m.Layers[0].MediaType != BundleMediaType || m.Layers[0].Annotations["k"] != "v" {
		t.Errorf("%+v", m)
	}
	if _, err := r.PutReferrer("a", "no digest", "", ""); err == nil {
		t.Error("a subject that is no digest was accepted")
	}
	if err := r.AppendAttestations("a", image, SignatureLayer{Payload: []byte("e")}, SignatureLayer{Payload: []byte("f")}); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(must(r.Raw("a", AttestationTag(image)))(t), &m); err != nil || len(m.Layers) != 2 || m.Layers[1].MediaType != EnvelopeMediaType {
		t.Errorf("%+v, %v", m, err)
	}
}
