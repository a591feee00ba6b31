package server

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"sluice/engine"
)

const (
	maxEcho   = 64   // bytes of a request's own words that are repeated to the caller
	maxLogged = 640  // bytes of one image string, namespace or name in a record
	maxDetail = 2048 // bytes of one cause in a record
	maxImages = 16   // images that one record names
)

// clip bounds a string that somebody else chose.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// loggedImage is what a record says of one image.
type loggedImage struct {
	Image  string `json:"image"`
	Digest string `json:"digest,omitempty"`
	Reason string `json:"reason"`
	Policy string `json:"policy,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// logReview writes the record of a review: one for each that was not allowed, and at level debug one for each that
// was. Quoting what hostile strings hold is the handler's; bounding them is done here.
func (d *door) logReview(x *exchange, took time.Duration) {
	level, text := slog.LevelInfo, "review denied"
	switch x.result.Outcome {
	case engine.Allow:
		level, text = slog.LevelDebug, "review allowed"
	case engine.Retry, engine.Defer, engine.Shed:
		level, text = slog.LevelWarn, "review not decided"
	}
	if x.result.Outcome != engine.Allow && x.ctx != nil && errors.Is(x.ctx.Err(), context.Canceled) {
		level, text = slog.LevelDebug, "the caller has left before the review was decided" // by HTTP/2; nobody reads the answer
	}
	if !d.logger.Enabled(d.base, level) {
		return
	}
	attrs := append(make([]slog.Attr, 0, 16),
		slog.String("outcome", x.result.Outcome.String()),
		slog.String("reason", x.result.Reason.String()),
	)
	if x.kind == imageReview {
		attrs = append(attrs, slog.String("namespace", clip(x.request.Namespace, maxLogged)))
	}
	var images []loggedImage
	more := 0
	for _, v := range x.result.Images() {
		switch {
		case v.Outcome == engine.Allow && x.result.Outcome != engine.Allow:
		case len(images) == maxImages:
			more++
		default:
			images = append(images, loggedImage{
				Image: clip(v.Image, maxLogged), Digest: string(v.Digest), Reason: v.Reason.String(),
				Policy: v.Policy, Detail: clip(v.Detail(), maxDetail),
			})
		}
	}
	attrs = append(attrs, slog.Any("images", images))
	if more > 0 {
		attrs = append(attrs, slog.Int("imagesLeftOut", more))
	}
	attrs = append(attrs, slog.Bool("hit", x.result.Hit))
	d.log(x, level, text, took, attrs)
}

func (d *door) logUnusable(x *exchange, what unusable, reason string, took time.Duration) {
	d.log(x, slog.LevelInfo, "review denied", took, []slog.Attr{
		slog.String("outcome", engine.Deny.String()),
		slog.String("reason", engine.ReasonInvalidRequest.String()),
		slog.String("unusable", what.String()),
		slog.String("detail", clip(reason, maxDetail)),
	})
}

func (d *door) logNoRoom(x *exchange, reason string) {
	d.log(x, slog.LevelWarn, "review denied", x.waited, []slog.Attr{
		slog.String("outcome", engine.Deny.String()),
		slog.String("reason", engine.ReasonOverloaded.String()),
		slog.String("detail", reason),
	})
}

// log adds what every record says.
func (d *door) log(x *exchange, level slog.Level, text string, took time.Duration, attrs []slog.Attr) {
	if x.kind != imageReview {
		attrs = x.describe(attrs)
	}
	attrs = append(attrs, slog.String("protocol", x.protocol.String()))
	if x.client != "" {
		attrs = append(attrs, slog.String("client", clip(x.client, maxLogged)))
	}
	d.logger.LogAttrs(d.base, level, text, append(attrs, slog.String("took", took.String()))...)
}

// chatter receives what the HTTP libraries have to say, all of it about connections that others ended.
func chatter(logger *slog.Logger) *log.Logger {
	return slog.NewLogLogger(logger.Handler(), slog.LevelDebug)
}

// seldom lets one caller a second through, so that a flood of connections is not a flood of records.
type seldom struct{ last atomic.Int64 }

func (s *seldom) now() bool {
	now, last := time.Now().Unix(), s.last.Load()
	return now != last && s.last.CompareAndSwap(last, now)
}
