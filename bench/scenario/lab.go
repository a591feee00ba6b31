package scenario

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// lab is what scenarios are tried in: a folder, a registry that runs, and services that are started in it. Its methods
// are called from one goroutine at a time.
type lab struct {
	dir      string
	sluice   []string // the command that is followed by serve
	env      []string // of the service
	registry *registryProcess
	services int // that have been started
}

// newLab makes a folder below the system's, writes certificates, and starts the registry. Close it.
func newLab(ctx context.Context, sluice, registry, env []string) (_ *lab, err error) {
	dir, err := os.MkdirTemp("", "sluice-bench-")
	if err != nil {
		return nil, err
	}
	l := &lab{dir: dir, sluice: sluice, env: env}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if err := writeCertificates(dir); err != nil {
		return nil, err
	}
	l.registry, err = startRegistry(ctx, dir, registry)
	return l, err
}

func (l *lab) close() {
	if l.registry != nil {
		l.registry.stop()
	}
	_ = os.RemoveAll(l.dir)
}

// service is a service that is ready.
type service struct {
	*child
	url   string // of reviews
	admin string // host:port of the admin plane
}

// servicePath is where reviews are answered.
const servicePath = "/v1/imagereview"

// serve starts a service with settings, and waits for it to be ready. The caller stops it.
func (l *lab) serve(ctx context.Context, s settings) (*service, error) {
	// A folder each: services notice it when their files change.
	l.services++
	dir := filepath.Join(l.dir, fmt.Sprintf("service-%d", l.services))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	if err := s.write(dir, &l.registry.state); err != nil {
		return nil, err
	}
	env := l.env
	if s.memoryLimit != "" {
		env = append(env[:len(env):len(env)], "GOMEMLIMIT="+s.memoryLimit)
	}
	argv := append(l.sluice[:len(l.sluice):len(l.sluice)], "serve", "--config", "sluice.yaml")
	c, err := startChild(dir, "service", env, false, argv...)
	if err != nil {
		return nil, err
	}
	v := &service{child: c}
	err = c.await(ctx, "does not say on which ports it serves", v.findPorts)
	if err == nil {
		err = c.await(ctx, "is not ready", func() bool {
			_, failed := v.get(ctx, "/readyz")
			return failed == nil
		})
	}
	if err != nil {
		c.stop()
		return nil, err
	}
	return v, nil
}

// findPorts looks for the record in the log that names the ports.
func (v *service) findPorts() bool {
	log, err := os.Open(v.log)
	if err != nil {
		return false
	}
	defer log.Close()
	for lines := bufio.NewScanner(log); lines.Scan(); {
		var record struct {
			Message string `json:"msg"`
			Address string `json:"address"`
			Admin   string `json:"admin"`
		}
		if json.Unmarshal(lines.Bytes(), &record) == nil && record.Message == "serving" {
			v.url, v.admin = "https://"+record.Address+servicePath, record.Admin
			return true
		}
	}
	return false
}

// get returns what the admin plane has at a path.
func (v *service) get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+v.admin+path, nil)
	if err != nil {
		return nil, err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	const most = 16 << 20
	body, err := io.ReadAll(io.LimitReader(resp.Body, most))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, resp.Status)
	}
	return body, err
}

// metrics are the samples of /metrics, by name and labels. Buckets of histograms are left out, and what is no number:
// there are many, and JSON has no word for the latter.
func (v *service) metrics(ctx context.Context) (map[string]float64, error) {
	body, err := v.get(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	all := make(map[string]float64)
	for line := range bytes.Lines(body) {
		text := string(bytes.TrimSpace(line))
		if text == "" || text[0] == '#' {
			continue
		}
		// A label's value may hold blanks; what follows the last one is the value, for sluice writes no timestamps.
		i := strings.LastIndexByte(text, ' ')
		if i < 0 {
			return nil, fmt.Errorf("/metrics: no sample: %q", text)
		}
		name, _, _ := strings.Cut(text[:i], "{")
		value, err := strconv.ParseFloat(text[i+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("/metrics: %w", err)
		}
		if !strings.HasSuffix(name, "_bucket") && !math.IsNaN(value) && !math.IsInf(value, 0) {
			all[text[:i]] = value
		}
	}
	return all, nil
}

// sum adds up the samples of a metric whose labels hold each of some texts, such as cache="miss".
func sum(metrics map[string]float64, name string, labels ...string) (total float64) {
next:
	for key, value := range metrics {
		if key != name && !strings.HasPrefix(key, name+"{") {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(key, l) {
				continue next
			}
		}
		total += value
	}
	return total
}
