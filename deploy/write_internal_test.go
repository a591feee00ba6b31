package deploy

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestAppearedMeanwhile has a file appear after the check that found none.
func TestAppearedMeanwhile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sluice.yaml")
	if err := os.WriteFile(path, []byte("theirs"), 0o600); err != nil {
		t.Fatal(err)
	}
	var undo undoList
	if err := undo.writeFile(path, File{"sluice.yaml", 0o644, []byte("ours")}, false); !errors.Is(err, fs.ErrExist) {
		t.Errorf("error %v", err)
	}
	if err := undo.run(); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "theirs" {
		t.Errorf("%q, %v", got, err)
	}
}
