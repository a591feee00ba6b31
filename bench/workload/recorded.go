package workload

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sluice/bench"
)

// Bounds of what is read from files.
const (
	maxRead     = 512 << 20 // bytes of all recorded reviews, and of annotations
	maxReviews  = 1_000_000
	maxFiles    = 100_000
	maxOneBytes = 32 << 20 // of a review; the largest that was seen had 17.4 MB
)

// recording is reviews that are replayed, over and over.
type recording struct {
	reviews []bench.Review
	at      int
	expect  map[string]bench.Expectation
	bytes   int
}

func (r *recording) next() bench.Review {
	review := r.reviews[r.at]
	if r.at++; r.at == len(r.reviews) {
		r.at = 0
	}
	return review
}

func (r *recording) shuffle(random *rand.Rand) {
	random.Shuffle(len(r.reviews), func(i, j int) { r.reviews[i], r.reviews[j] = r.reviews[j], r.reviews[i] })
}

// readRecorded reads a file, or the files of a folder that end in .json, .jsonl or .ndjson, sorted by name.
func readRecorded(name string, listed []reference) (*recording, error) {
	r := &recording{expect: make(map[string]bench.Expectation, len(listed))}
	for _, l := range listed {
		r.expect[l.name] = l.expect
	}
	files, err := filesOf(name)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if err := r.readFile(file); err != nil {
			return nil, err
		}
	}
	if len(r.reviews) == 0 {
		return nil, fmt.Errorf("%s: no ImageReview is in it", name)
	}
	return r, nil
}

func filesOf(name string) ([]string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{name}, nil
	}
	entries, err := os.ReadDir(name) // sorted
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if !e.IsDir() && slices.Contains([]string{".json", ".jsonl", ".ndjson"}, strings.ToLower(filepath.Ext(e.Name()))) {
			files = append(files, filepath.Join(name, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: no file in it ends in .json, .jsonl or .ndjson", name)
	} else if len(files) > maxFiles {
		return nil, fmt.Errorf("%s: more than %d files", name, maxFiles)
	}
	return files, nil
}

func (r *recording) readFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return err
	} else if !info.Mode().IsRegular() {
		return &fs.PathError{Op: "read", Path: name, Err: errors.New("not a regular file")}
	}
	data, err := io.ReadAll(io.LimitReader(f, int64(maxRead-r.bytes)+1))
	if err != nil {
		return err
	}
	if r.bytes += len(data); r.bytes > maxRead {
		return fmt.Errorf("%s: recorded reviews have up to %d bytes together", name, maxRead)
	}
	for dec := json.NewDecoder(bytes.NewReader(data)); ; {
		begin := dec.InputOffset()
		var raw json.RawMessage
		err := dec.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return nil
		}
		line := lineOf(data, begin)
		if err == nil {
			err = r.add(raw)
		} else if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
			line = 1 + bytes.Count(data[:min(max(0, int(syntax.Offset)-1), len(data))], []byte("\n"))
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %w", name, line, err)
		}
	}
}

// lineOf is the line on which the next document begins.
func lineOf(data []byte, offset int64) int {
	rest := data[offset:]
	begin := int(offset) + len(rest) - len(bytes.TrimLeft(rest, " \t\r\n"))
	return 1 + bytes.Count(data[:begin], []byte("\n"))
}

// imageReview is what matters of one. The order of the spec's fields is that of the plugin's cache key.
type imageReview struct {
	Kind       string     `json:"kind"`
	APIVersion string     `json:"apiVersion"`
	Spec       reviewSpec `json:"spec"`
}

type reviewSpec struct {
	Containers  []reviewContainer `json:"containers,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Namespace   string            `json:"namespace,omitempty"`
}

type reviewContainer struct {
	Image string `json:"image,omitempty"`
}

// add keeps a review as it was recorded, but for white space between its tokens, which the plugin does not send.
func (r *recording) add(raw []byte) error {
	var review imageReview
	switch err := json.Unmarshal(raw, &review); {
	case err != nil:
		return err
	case len(raw) > maxOneBytes:
		return fmt.Errorf("a review has up to %d bytes", maxOneBytes)
	case len(r.reviews) == maxReviews:
		return fmt.Errorf("there can be up to %d recorded reviews", maxReviews)
	case review.Kind != "ImageReview" || review.APIVersion != "imagepolicy.k8s.io/v1alpha1":
		return fmt.Errorf("it is a %q of %q, not an ImageReview of imagepolicy.k8s.io/v1alpha1", review.Kind, review.APIVersion)
	case len(review.Spec.Containers) == 0:
		return errors.New("spec.containers is empty: the plugin asks about images only")
	}
	expect := bench.ExpectAllow
	for n, c := range review.Spec.Containers {
		if c.Image == "" {
			return fmt.Errorf("spec.containers[%d].image is missing", n)
		}
		expect = both(expect, r.expect[c.Image])
	}
	key, err := json.Marshal(review.Spec)
	if err != nil {
		return err
	}
	body := bytes.NewBuffer(make([]byte, 0, len(raw)+1))
	if err := json.Compact(body, raw); err != nil {
		return err
	}
	body.WriteByte('\n')
	r.reviews = append(r.reviews, bench.Review{Body: body.Bytes(), Key: string(key), Deny: expect})
	return nil
}
