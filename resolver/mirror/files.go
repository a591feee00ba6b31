package mirror

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const fileName = "hosts.toml"

// maxDirectories bounds how many directories of one root [Files] looks into.
const maxDirectories = 4096

// readFile reads a hosts.toml.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(b) > maxFile:
		return nil, fmt.Errorf("%s: it is larger than %d KiB", path, maxFile>>10)
	}
	return b, nil
}

// certificates makes a Host of a directory as Docker lays it out: *.crt are authorities, and *.cert client
// certificates, whose keys are in the .key of the same name, or in the same file where there is none.
func certificates(dir string) ([]Host, error) {
	own := Host{Path: "/v2", Capabilities: all}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name := e.Name()
		path := filepath.Join(dir, name)
		switch {
		case e.IsDir():
		case strings.HasSuffix(name, ".crt"):
			own.CAFiles = append(own.CAFiles, path)
		case strings.HasSuffix(name, ".cert"):
			pair := ClientPair{Certificate: path}
			key := strings.TrimSuffix(path, ".cert") + ".key"
			if _, err := os.Stat(key); err == nil {
				pair.Key = key
			} else if !errors.Is(err, os.ErrNotExist) {
				return nil, err
			}
			own.ClientPairs = append(own.ClientPairs, pair)
		}
		if len(own.CAFiles)+len(own.ClientPairs) > maxCertificates {
			return nil, fmt.Errorf("%s: it holds more than %d certificates", dir, maxCertificates)
		}
	}
	own.TLS = own.CAFiles != nil || own.ClientPairs != nil
	return []Host{own}, nil
}

// Files returns the files and the directories that what [Read] says of any registry depends on, and the certificates
// and keys that are named there: whoever hashes the contents of all, and the names in the directories, sees each change.
// It may name some that don't exist. What can't be read is left out, but not its name.
func Files(roots []string) []string {
	var files []string
	for _, root := range roots {
		files = append(files, root)
		entries, err := os.ReadDir(root)
		if err != nil {
			continue
		}
		for i, e := range entries {
			if i == maxDirectories {
				break
			}
			dir := filepath.Join(root, e.Name())
			info, err := os.Stat(dir) // a link is what it leads to
			if err != nil || !info.IsDir() {
				continue
			}
			files = append(files, dir, filepath.Join(dir, fileName))
			hosts, err := ReadDirectory(dir)
			if err != nil {
				continue
			}
			for _, h := range hosts {
				files = append(files, h.CAFiles...)
				for _, p := range h.ClientPairs {
					files = append(files, p.Certificate)
					if p.Key != "" {
						files = append(files, p.Key)
					}
				}
			}
		}
	}
	slices.Sort(files)
	return slices.Compact(files)
}
