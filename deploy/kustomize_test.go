package deploy_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/deploy"
)

// TestKustomizeStaticPod: the overlay's pod is the one that init writes, but for its head and its image, which kustomize
// puts in. Two ways to the same pod must not drift apart.
func TestKustomizeStaticPod(t *testing.T) {
	t.Parallel()
	const overlay = "kustomize/overlays/static-pod/pod.yaml"
	kept, err := os.ReadFile(overlay)
	if err != nil {
		t.Fatal(err)
	}
	b := render(t, deploy.Options{Server: "https://sluice.example.com:8443"})
	head, image := regexp.MustCompile(`\A(#.*\n)*`), regexp.MustCompile(`(?m)^( +image: ).*$`)
	plain := func(pod []byte) string {
		return string(image.ReplaceAll(head.ReplaceAll(pod, nil), []byte("${1}IMAGE")))
	}
	if diff := cmp.Diff(plain(file(t, b, "static-pod.yaml")), plain(kept)); diff != "" {
		t.Errorf("%s differs from what init writes (-init +overlay):\n%s", overlay, diff)
	}
}
