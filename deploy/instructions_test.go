package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/deploy"
)

// TestInstructionsPutInPlace runs what step 1 says, as whoever installs would, but for the owner and the folder of the
// service: both sides then have what they read, and no more.
func TestInstructionsPutInPlace(t *testing.T) {
	t.Parallel()
	dir, machine := filepath.Join(t.TempDir(), `the "bundle's" place`), t.TempDir()
	mount := filepath.Join(machine, "apiserver's part")
	b := render(t, deploy.Options{Server: "https://127.0.0.1:8443", Mount: mount})
	if err := b.Write(dir, false); err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	for line := range strings.Lines(text(t, b, dir)) {
		if strings.HasPrefix(line, "2. ") {
			break
		}
		if command, ok := strings.CutPrefix(line, "     install "); ok {
			command = strings.ReplaceAll(command, deploy.ServiceDir, filepath.Join(machine, "service"))
			command = strings.ReplaceAll(command, "-o 65532 -g 65532", "-o "+strconv.Itoa(os.Getuid())+" -g "+strconv.Itoa(os.Getgid()))
			script.WriteString("install " + command)
		}
	}
	if out, err := exec.Command("sh", "-ec", script.String()).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s\n%s", err, out, &script)
	}
	got := map[string]string{}
	for path, what := range tree(t, machine) {
		got[path], _, _ = strings.Cut(what, " ")
	}
	const folder, key, other = "drwxr-xr-x", "-rw-------", "-rw-r--r--"
	want := map[string]string{
		"service": folder, "service/sluice.yaml": other, "service/policies": folder, "service/pki": folder,
		"service/policies/00-control-plane.yaml": other, "service/policies/10-no-latest.yaml": other,
		"service/pki/ca.crt": other, "service/pki/server.crt": other, "service/pki/server.key": key,
		"apiserver's part": folder, "apiserver's part/admission.yaml": other, "apiserver's part/kubeconfig.yaml": other,
		"apiserver's part/pki": folder, "apiserver's part/pki/ca.crt": other, "apiserver's part/pki/client.crt": other,
		"apiserver's part/pki/client.key": key,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// What the configuration reads is what has been put there.
	var c config
	strict(t, file(t, b, "sluice.yaml"), &c)
	for _, path := range append([]string{c.TLS.CertFile, c.TLS.KeyFile, c.TLS.ClientCAFile}, c.Policies...) {
		if _, ok := got["service/"+path]; !ok {
			t.Errorf("sluice.yaml reads %s", path)
		}
	}
}
