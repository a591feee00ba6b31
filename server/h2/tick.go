package h2

import (
	"io"
	"os"
	"time"
)

// What a job reads behind the last byte of a body.
var (
	errEnd  = io.EOF
	errLate = os.ErrDeadlineExceeded
)

// tick looks after everything that time ends. A limit is kept to within one tick above, which is an eighth of the
// smallest.
func (c *conn) tick() {
	defer c.guard()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	c.now++
	config := &c.server.config
	made := int(c.server.period*perSecond/time.Second) + 1
	c.trifles, c.resets = min(c.trifles+made, maxTrifles), min(c.resets+made, maxResets)
	if !c.greeted && c.now >= c.server.ticks(config.PrefaceTimeout) {
		c.kill(&Error{codeNone, "the client did not say in time that it speaks HTTP/2"})
	}
	if !c.writing || c.writes != c.stuckAt {
		c.stuckAt, c.stuckSince = c.writes, c.now
	} else if c.now-c.stuckSince >= c.server.ticks(config.WriteTimeout) {
		c.kill(errSlow)
	}
	if len(c.streams) > 0 {
		c.expire()
	}
	if len(c.streams)+c.orphans > 0 || c.answers != c.idleAt {
		c.idleAt, c.idleSince = c.answers, c.now
	} else if c.greeted && c.leaving == staying && c.now-c.idleSince >= c.server.ticks(config.IdleTimeout) {
		c.need()
		c.out = appendGoAway(c.out, c.last, codeNone)
		c.leaving = left
		c.wake()
	}
	if c.roomy && c.reads == c.readsAt {
		c.wake() // an idle connection needs no large buffer
	}
	c.readsAt = c.reads
	c.settle()
	c.timer.Reset(c.server.period) // before a write, which the next tick looks after
	c.flush()
}

// expire ends what has waited too long for the client.
func (c *conn) expire() {
	late, slow := c.server.ticks(c.server.config.BodyTimeout), c.server.ticks(c.server.config.WriteTimeout)
	for _, s := range c.streams {
		switch age := c.now - s.born; {
		case s.pending != nil:
			if age >= slow {
				c.out = appendReset(c.out, s.id, codeCancel)
				c.remove(s, true)
			}
		case s.ended || age < late:
		case s.body != nil:
			s.body.finish(errLate)
		case s.unasked || s.tooMuch:
			c.complete(s, nil)
		default:
			c.reply(s, c.handler.Fail(&s.request, BodyTooLate, c.scratch[:0]))
		}
	}
}

// farewellPing is answered when the client has read the GOAWAY before it.
const farewellPing = "farewell"

// callTime is how long that answer may take.
const callTime = time.Second

// goAway begins to end the connection without losing a request that is on its way: until the client has heard of it,
// what it sends is served.
func (c *conn) goAway() {
	defer c.guard()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over || c.leaving != staying {
		return
	}
	c.leaving = leavingA
	c.need()
	c.out = appendGoAway(c.out, maxID, codeNone)
	c.out = appendPing(c.out, 0, []byte(farewellPing))
	time.AfterFunc(callTime, func() {
		defer c.guard()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.lastCall()
		c.settle()
		c.flush()
	})
	c.flush()
}

// lastCall says which streams are served to their end.
func (c *conn) lastCall() {
	if c.over || c.leaving != leavingA {
		return
	}
	c.leaving = leavingB
	c.need()
	c.out = appendGoAway(c.out, c.last, codeNone)
}
