package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestReviewOf3000Containers(t *testing.T) {
	t.Parallel()
	good, bad := signed(t), unsigned(t)
	s := newService(t, usual(t))
	apiserver := s.failClosed(t)
	images := make([]string, 3000)
	for n := range images {
		images[n] = fmt.Sprintf("example.com/app-%d:v%d", n%1500, n)
	}
	images[1], images[2998] = good.tag("1"), good.byDigest()
	apiserver.create(t, pod(images...)).allowed(t)
	images[2999] = bad.tag("1")
	apiserver.create(t, pod(images...)).denied(t, "signature_missing", bad.tag("1"))

	// All of them wrong: as many as anyone would read are named, the rest is counted.
	for n := range images {
		images[n] = fmt.Sprintf("example.com/some/rather/long/repository/name/app-%d:latest", n)
	}
	got := apiserver.create(t, pod(images...))
	got.denied(t, "tag_denied", images[0], images[1000], " more images")
	s.lives(t)
}

// The largest reviews that a pod can make, under defaultAllow: true, where anything but a verdict lets the pod in.
func TestLargeReviews(t *testing.T) {
	t.Parallel()
	good, bad := signed(t), unsigned(t)
	s := newService(t, usual(t))
	open := s.failOpen(t)
	review := func(image string, bytes int) answer {
		p := anew(pod(image))
		p.Annotations["note.image-policy.k8s.io/note"] = strings.Repeat("<", bytes/6)
		return open.create(t, p)
	}
	const mb = 1_000_000
	review(good.tag("1"), 17*mb).allowed(t)
	review(bad.tag("1"), 17*mb).denied(t, "signature_missing", bad.tag("1"))
	// Above limits.maxBody nothing is read, and so nothing is let in.
	for range 3 {
		review(good.tag("1"), 30*mb).denied(t, "invalid_request", "larger than the 20971520 bytes")
	}
	review(bad.tag("1"), 30*mb).denied(t, "invalid_request")
	if n := s.metric(t, "sluice_unusable_reviews_total", `problem="too_large"`); n != 4 {
		t.Errorf("%v reviews are counted as too large, want 4", n)
	}
	s.lives(t)
}

// What is no review is denied with a verdict, since any status but 200 would let the pod in under defaultAllow: true.
func TestUnusableRequests(t *testing.T) {
	t.Parallel()
	s := newService(t, usual(t))
	const review = `{"kind":"ImageReview","apiVersion":"imagepolicy.k8s.io/v1alpha1","spec":{"containers":[{"image":"nginx:1"}],"namespace":"team"}}`
	var reply struct {
		Kind, APIVersion string
		Status           *struct {
			Allowed          *bool
			Reason           string
			AuditAnnotations map[string]string
		}
	}
	send := func(client *http.Client, method, path, body string) (*http.Response, []byte) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, "https://"+s.addr+path, strings.NewReader(body))
		must(t, err)
		response, err := client.Do(request)
		must(t, err)
		defer response.Body.Close()
		content, err := io.ReadAll(response.Body)
		must(t, err)
		if response.Header.Get("Retry-After") != "" {
			t.Errorf("%.80q: Retry-After, which holds the pod for half a minute", body)
		}
		return response, content
	}
	for _, http2 := range []bool{false, true} {
		client := s.client(t, http2)
		f := func(reason, body string) {
			t.Helper()
			response, content := send(client, http.MethodPost, "/v1/imagereview?timeout=30s", body)
			reply.Status = nil
			if err := json.Unmarshal(content, &reply); err != nil {
				t.Errorf("%.80q: the answer is no JSON: %s", body, content)
				return
			}
			if response.StatusCode != http.StatusOK || reply.Kind != "ImageReview" ||
				reply.APIVersion != "imagepolicy.k8s.io/v1alpha1" || reply.Status == nil || reply.Status.Allowed == nil ||
				*reply.Status.Allowed || reply.Status.Reason == "" || reply.Status.AuditAnnotations["reason"] != reason {
				t.Errorf("%s %.80q: %s %s; want a denial for %s", response.Proto, body, response.Status, content, reason)
			}
		}
		f("invalid_request", "")
		f("invalid_request", "garbage")
		f("invalid_request", "\x00\xff\xfe")
		f("invalid_request", "null")
		f("invalid_request", "[]")
		f("invalid_request", "{}")
		f("invalid_request", review[:len(review)-1])
		f("invalid_request", review+"x")
		f("invalid_request", strings.Replace(review, "ImageReview", "imagereview", 1))
		f("invalid_request", strings.Replace(review, "ImageReview", "AdmissionReview", 1))
		f("invalid_request", strings.Replace(review, "v1alpha1", "v1", 1))
		f("invalid_request", strings.Replace(review, `{"image":"nginx:1"}`, "", 1))
		f("invalid_request", strings.Replace(review, `"nginx:1"`, "1", 1))
		f("invalid_request", strings.Repeat(`{"a":`, 100_000))
		f("invalid_reference", strings.Replace(review, "nginx:1", "NGINX::::@@ //", 1))
		f("invalid_reference", strings.Replace(review, "nginx:1", "", 1))
		f("invalid_reference", strings.Replace(review, "nginx:1", strings.Repeat("a/", 3000), 1))

		// Its own status is none of the caller's business, unknown fields are nobody's, and of two the last counts.
		_, content := send(client, http.MethodPost, "/", strings.Replace(strings.Replace(review, "nginx:1", "nginx:latest", 1),
			"}}", `},"status":{"allowed":true}}`, 1))
		if !bytes.Contains(content, []byte(`"allowed":false`)) {
			t.Errorf("the request's own status decided: %s", content)
		}
		_, content = send(client, http.MethodPost, "/", strings.Replace(review, `"kind"`, `"surplus":[{}],"kind":"Pod","kind"`, 1))
		if !bytes.Contains(content, []byte(`"allowed":true`)) {
			t.Errorf("an unknown or a repeated field decided: %s", content)
		}

		if response, _ := send(client, http.MethodPost, "/elsewhere", review); response.StatusCode != http.StatusNotFound {
			t.Errorf("another path: %s", response.Status)
		}
		if response, _ := send(client, http.MethodGet, "/v1/imagereview", ""); response.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("another method: %s", response.Status)
		}
	}
	// Without a certificate of the authority nobody gets that far.
	stranger := s.client(t, true)
	stranger.Transport.(*http.Transport).TLSClientConfig.Certificates = nil
	if err := s.review(stranger, "nginx:1"); err == nil {
		t.Error("a caller without a certificate is answered")
	}
	s.lives(t)
}
