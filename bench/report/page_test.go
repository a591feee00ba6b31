package report

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestPages writes every page where SLUICE_PAGES says, for whoever wants to look at them, and holds that they are whole.
func TestPages(t *testing.T) {
	t.Parallel()
	for name, r := range results() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b bytes.Buffer
			if err := HTML(&b, r); err != nil {
				t.Fatal(err)
			}
			if dir := os.Getenv("SLUICE_PAGES"); dir != "" {
				if err := os.WriteFile(filepath.Join(dir, name+".html"), b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
