package bench

import (
	"runtime"
	"time"
)

// pacer waits for moments, precisely. It belongs to one goroutine, which it keeps on a thread of its own: the runtime's
// timers may be a millisecond late when little is going on, which would be read as the server's latency.
type pacer struct{ begin time.Time }

func newPacer(begin time.Time) *pacer {
	runtime.LockOSThread()
	precise()
	return &pacer{begin}
}

func (p *pacer) end() { runtime.UnlockOSThread() }

// longNap is how long a wait may be before anything else is looked at.
const longNap = 50 * time.Millisecond

// until waits for a moment. It returns false if done is closed before that.
func (p *pacer) until(at time.Duration, done <-chan struct{}) bool {
	for {
		select {
		case <-done:
			return false
		default:
		}
		left := at - time.Since(p.begin)
		if left <= 0 {
			return true
		}
		nap(min(left, longNap))
	}
}
