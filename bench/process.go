package bench

import (
	"fmt"
	"runtime"
	"sync"
	"time"
)

// usage is what a process has used since it began, and holds now.
type usage struct {
	user, system time.Duration
	rss          int64 // bytes
}

// cores is how much of the machine's time was spent since it began.
type cores struct{ busy, all time.Duration }

// sampler looks at the server's process, at this one, and at the machine. Its methods may be called concurrently.
type sampler struct {
	pid int // of the server; 0: not looked at

	mu                 sync.Mutex
	serverBegin        usage
	server             usage
	lastAt             time.Duration
	rssMax             int64
	cpu                float64 // the server's, in the last interval
	selfBegin          usage
	machineBegin, last cores
}

func newSampler(pid int) (*sampler, error) {
	s := &sampler{pid: pid}
	if pid != 0 {
		u, err := processUsage(pid)
		if err != nil {
			return nil, fmt.Errorf("the server's process %d: %w", pid, err)
		}
		s.serverBegin, s.server, s.rssMax = u, u, u.rss
	}
	s.selfBegin = ownUsage()
	s.machineBegin = machineCores()
	s.last = s.machineBegin
	return s, nil
}

// sample looks at the server once more, and returns the cores that it used since the last time, and what it holds.
func (s *sampler) sample(at time.Duration) (cpu float64, rss int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = machineCores()
	if s.pid == 0 {
		return 0, 0
	}
	u, err := processUsage(s.pid)
	if err != nil { // it has ended: its last account stands
		return 0, 0
	}
	if at > s.lastAt {
		s.cpu = (u.user + u.system - s.server.user - s.server.system).Seconds() / (at - s.lastAt).Seconds()
	}
	s.server, s.lastAt, s.rssMax = u, at, max(s.rssMax, u.rss)
	return s.cpu, u.rss
}

func (s *sampler) recent() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cpu
}

// busy is the share of the machine's time that was not idle during the run.
func (s *sampler) busy() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.last.all - s.machineBegin.all
	if all <= 0 {
		return 0
	}
	return float64(s.last.busy-s.machineBegin.busy) / float64(all)
}

// into writes the accounts into a result, whose counts are there already.
func (s *sampler) into(res *Result, elapsed time.Duration) {
	s.sample(elapsed)
	s.mu.Lock()
	defer s.mu.Unlock()
	self := ownUsage()
	own := self.user + self.system - s.selfBegin.user - s.selfBegin.system
	if elapsed > 0 {
		res.Generator.CPU = own.Seconds() / elapsed.Seconds()
	}
	if res.Counts.Sent > 0 {
		res.Generator.CPUReview = float64(own.Microseconds()) / float64(res.Counts.Sent)
	}
	if s.pid == 0 {
		return
	}
	user, system := s.server.user-s.serverBegin.user, s.server.system-s.serverBegin.system
	res.Server = &Process{
		PID: s.pid, User: int64(user), System: int64(system),
		RSSBegin: s.serverBegin.rss, RSSEnd: s.server.rss, RSSMax: s.rssMax,
	}
	if n := res.Counts.Answered(); n > 0 {
		res.Server.CPUReview = float64((user + system).Microseconds()) / float64(n)
	}
}

// ThisMachine describes the machine that this process runs on.
func ThisMachine() Machine {
	m := Machine{OS: runtime.GOOS + "/" + runtime.GOARCH, Cores: runtime.NumCPU(), Go: runtime.Version()}
	describe(&m)
	return m
}
