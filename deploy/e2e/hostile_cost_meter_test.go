package e2e

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What one review may cost the process, whatever is in the registry.
const (
	mostCPU      = time.Second
	mostResident = 64 << 20
)

// cost is what one review took of the process, until it was idle again.
type cost struct {
	cpu      time.Duration // user and system, of all threads
	resident int64         // bytes by which the resident memory rose at most, garbage and all
	heap     int64         // bytes of the heap at most, when a collection began or ended: garbage and all
	live     int64         // bytes of the heap at most that a collection found in use
}

// meter reads what one process takes.
type meter struct {
	testing.TB
	process *process
}

func (m meter) proc(name string) string {
	return fmt.Sprintf("/proc/%d/%s", m.process.cmd.Process.Pid, name)
}

// cpu is what the process has used so far: utime and stime of proc(5), which Linux counts in hundredths of a second.
func (m meter) cpu() time.Duration {
	m.Helper()
	stat, err := os.ReadFile(m.proc("stat"))
	must(m, err)
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:])) // from the third on
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		must(m, err)
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100)
}

// status reads a line of /proc/PID/status, in bytes.
func (m meter) status(name string) int64 {
	m.Helper()
	status, err := os.ReadFile(m.proc("status"))
	must(m, err)
	for line := range strings.Lines(string(status)) {
		var kib int64
		if _, err := fmt.Sscanf(line, name+": %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	m.Fatalf("no %s in %s", name, status)
	return 0
}

// idle waits until the process does nothing any more, and returns what it has used until then.
func (m meter) idle() time.Duration {
	m.Helper()
	const quiet = 3 // readings
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	last, same := m.cpu(), 0
	for deadline := time.Now().Add(patience); same < quiet; <-tick.C {
		if time.Now().After(deadline) {
			m.Errorf("after %s it is still at work", patience)
			break
		}
		if now := m.cpu(); now == last {
			same++
		} else {
			last, same = now, 0
		}
	}
	return last
}

// collection is a line that the Go runtime writes of a garbage collection, with the heap at its beginning, at its end,
// and what of it was in use, in MiB.
var collection = regexp.MustCompile(`(?m)^gc \d+ @.* (\d+)->(\d+)->(\d+) MB, `)

// of measures what something costs.
func (m meter) of(do func()) cost {
	m.Helper()
	before := m.idle()
	must(m, os.WriteFile(m.proc("clear_refs"), []byte("5"), 0)) // VmHWM begins anew
	resident, wrote := m.status("VmRSS"), len(m.process.stderr.String())
	do()
	c := cost{cpu: m.idle() - before, resident: m.status("VmHWM") - resident}
	for _, line := range collection.FindAllStringSubmatch(m.process.stderr.String()[wrote:], -1) {
		for i, text := range line[1:] {
			n, err := strconv.ParseInt(text, 10, 64)
			must(m, err)
			if i < 2 {
				c.heap = max(c.heap, n<<20)
			} else {
				c.live = max(c.live, n<<20)
			}
		}
	}
	return c
}

// begin starts the service and returns when it is ready, as [service.start] does; the runtime tells of collections.
func (s *service) begin(t testing.TB) {
	t.Helper()
	p, err := startProcess(s.dir, []string{"GODEBUG=gctrace=1"}, programs.sluice, "serve", "--config", s.file("sluice.yaml"))
	must(t, err)
	s.process = p
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("sluice (pid %d) wrote:\n%s", p.cmd.Process.Pid, tail(p.stderr.String()))
		}
	})
	eventually(t, func() error {
		if p.ended() {
			t.Fatalf("sluice serve has ended (exit %d):\n%s", p.cmd.ProcessState.ExitCode(), p.stderr.String())
		}
		status, body, err := s.get("/readyz")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("/readyz: %d %s", status, body)
		}
		return err
	})
}
