package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sluice/bench/client"
)

// maxExposition bounds what is read of a server's metrics.
const maxExposition = 16 << 20

// scraper returns a function that reads a server's metrics. The addresses are the same each time, and on loopback unless
// the target is the user's.
func scraper(ctx context.Context, url string, targetIsMine bool) (func() (map[string]float64, error), error) {
	target, err := client.Resolve(ctx, url)
	if err != nil {
		return nil, invalid(fmt.Errorf("--metrics-url: %w", err), "--metrics-url http://127.0.0.1:9443/metrics")
	}
	if !targetIsMine && !target.Loopback() {
		return nil, invalid(fmt.Errorf("--metrics-url: %w: %s", client.ErrNotLoopback, target), mineHint)
	}
	asker := &http.Client{
		Timeout:       5 * time.Second,
		Transport:     &http.Transport{DialContext: target.DialContext, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func() (map[string]float64, error) {
		resp, err := asker.Get(url)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s answered %s", url, resp.Status)
		}
		return readMetrics(resp.Body)
	}, nil
}

// readMetrics reads the text format of Prometheus: each sample's name and labels, as they are written, and its value.
// Buckets of histograms are left out: there are many, and their sums and counts say what changed.
func readMetrics(from io.Reader) (map[string]float64, error) {
	limited := &io.LimitedReader{R: from, N: maxExposition + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(nil, 1<<20)
	all := make(map[string]float64)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		// Labels may hold spaces and braces, so the values are what is behind the last brace.
		end := strings.LastIndexByte(line, '}') + 1
		if end == 0 {
			end = strings.IndexAny(line, " \t")
		}
		if end < 0 {
			return nil, fmt.Errorf("%.80q is no sample", line)
		}
		values := strings.Fields(line[end:])
		if len(values) == 0 {
			return nil, fmt.Errorf("%.80q is no sample", line)
		}
		v, err := strconv.ParseFloat(values[0], 64)
		if err != nil {
			return nil, fmt.Errorf("%.80q is no sample", line)
		}
		name, _, _ := strings.Cut(line[:end], "{")
		if !strings.HasSuffix(name, "_bucket") && !math.IsNaN(v) && !math.IsInf(v, 0) { // JSON has no words for these
			all[line[:end]] = v
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if limited.N <= 0 {
		return nil, errors.New("the metrics take up more than 16 MiB")
	}
	return all, nil
}
