package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"sluice/bench"
)

// Bounds of a result that is read: what this program could have written, and much more than it does.
const (
	maxFile      = 16 << 20
	maxIntervals = 20_000
	maxPoints    = 1_000
	maxMetrics   = 100_000
)

// JSON writes a result as Read takes it.
func JSON(w io.Writer, r *bench.Result) error { return writeJSON(w, r) }

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// Read reads a result that JSON wrote. What it returns is as trustworthy as the file is; every report takes any of it.
func Read(from io.Reader) (*bench.Result, error) {
	content, err := io.ReadAll(io.LimitReader(from, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxFile {
		return nil, fmt.Errorf("it is larger than %d MiB: no result of sluice-bench is", maxFile>>20)
	}
	// The version first: what it says decides what a failure to read the rest means.
	var head struct {
		Version *int `json:"version"`
	}
	if err := json.Unmarshal(content, &head); err != nil {
		return nil, fmt.Errorf("it is no result of sluice-bench: %w", err)
	}
	switch {
	case head.Version == nil:
		return nil, errors.New("it is no result of sluice-bench: it has no version")
	case *head.Version > bench.FormatVersion:
		return nil, fmt.Errorf("it is of version %d, which a newer sluice-bench wrote: this one reads up to version %d", *head.Version, bench.FormatVersion)
	case *head.Version < 1:
		return nil, fmt.Errorf("it is no result of sluice-bench: there is no version %d", *head.Version)
	}
	r := new(bench.Result)
	if err := json.Unmarshal(content, r); err != nil {
		return nil, fmt.Errorf("it is no result of sluice-bench: %w", err)
	}
	switch {
	case len(r.Series) > maxIntervals:
		return nil, fmt.Errorf("it has %d intervals: more than %d", len(r.Series), maxIntervals)
	case len(r.Latency.Points) > maxPoints || len(r.Service.Points) > maxPoints || len(r.Generator.Lag.Points) > maxPoints:
		return nil, fmt.Errorf("a distribution in it has more than %d points", maxPoints)
	case len(r.Metrics)+len(r.Extra)+len(r.Counts.Errors)+len(r.Checks) > maxMetrics:
		return nil, fmt.Errorf("it has more than %d numbers of the server's", maxMetrics)
	}
	return r, nil
}
