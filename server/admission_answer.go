package server

import (
	"bytes"
	"log/slog"
	"strconv"
	"strings"
	"unicode/utf8"

	"sluice/engine"
	"sluice/server/wire"
)

// What a denial says of itself. The apiserver passes both on to who made the request.
const (
	codeDenied = 403
	wordDenied = "Forbidden"
)

// statusFailed is what leaves a review to the webhook's failurePolicy. The apiserver repeats none of these calls.
const statusFailed = 500

// What the apiserver makes of warnings: it drops those beyond so many characters in all, and cuts each at so many if
// they are more than that.
const (
	maxWarnings = 4096
	maxWarning  = 256
)

// writeAdmission is write for an AdmissionReview.
func (d *door) writeAdmission(x *exchange) int {
	switch x.result.Outcome {
	case engine.Retry, engine.Defer:
		x.reply = wire.AppendStatus(x.reply, statusFailed, wordRetry, x.result.Message())
		return statusFailed
	case engine.Shed:
		x.reply = wire.AppendStatus(x.reply, statusShed, wordShed, x.result.Message())
		return statusShed
	}
	a := x.admission
	w := &a.answer
	w.UID, w.Allowed = a.review.UID, x.result.Outcome == engine.Allow
	ruling := x.result.Ruling()
	switch {
	case w.Allowed && x.kind == mutate: // it is no verdict; what was found is said all the same, unless it is not what is written
		if !a.change(&x.result) {
			w.Audit = appendAudit(w.Audit, x.result.Details())
		}
	case ruling != nil:
		w.Prepared = ruling.Form(prepareAudit)
		w.Audit = appendAudit(w.Audit, x.result.Details())
	default:
		w.Audit = appendAudit(w.Audit, x.result.Audit())
	}
	if w.Allowed {
		a.warn(&x.result)
		w.Warnings, w.Patch = a.warnings, a.patch
	} else {
		w.Code, w.Reason, w.Message = codeDenied, wordDenied, x.result.Message()
	}
	x.reply = wire.AppendAdmissionReply(x.reply, &a.review, w)
	return statusOK
}

// warn collects what is to be said although the review is allowed, whole if all of it fits.
func (a *admission) warn(res *engine.Result) {
	all := 0
	for _, v := range res.Images() {
		all += utf8.RuneCountInString(v.Message())
	}
	most, room, left := maxWarnings, maxWarnings, 0
	if all > maxWarnings {
		const more = len("and 100000 more warnings")
		most, room = maxWarning-len("…"), maxWarnings-more
	}
	for _, v := range res.Images() {
		m := clip(v.Message(), most)
		if n := utf8.RuneCountInString(m); n > room {
			left++
		} else if n > 0 {
			room -= n
			a.say(m)
		}
	}
	if left > 0 {
		a.say("and " + strconv.Itoa(left) + " more warnings")
	}
}

// say adds a warning.
func (a *admission) say(text string) {
	from := len(a.text)
	a.text = append(a.text, text...)
	a.warnings = append(a.warnings, a.text[from:len(a.text):len(a.text)])
}

// change collects what is to be written in place of what, and tells whether some of it is what was there before.
func (a *admission) change(res *engine.Result) (restores bool) {
	r := &a.review
	update := r.Operation == operationUpdate
	// A Job's template can't be changed, so that its manifest with a tag, applied again, is to mean the digest that it has;
	// nor can the pull policy of a pod's containers be, but for that of containers that come with the change.
	job, pod := update && r.ObjectKind == kindJob, update && r.ObjectKind == kindPod
	for _, t := range a.touched {
		image := &r.Images[t.index]
		v := res.Find(image.Image)
		if v == nil {
			continue
		}
		op := wire.PatchOp{Image: image}
		rest, same := strings.CutPrefix(t.was, image.Image)
		had := job && same && strings.HasPrefix(rest, "@")
		switch {
		case had && (v.Rewrite != "" || v.Reason == engine.ReasonImageNotFound): // which a policy would pin
			op.Rewrite, restores = t.was, true
		case v.Rewrite != image.Image:
			op.Rewrite = v.Rewrite
		}
		fixed := job || pod && !(t.added && r.SubResource == subresourceEphemeral)
		op.AlwaysPull = v.AlwaysPull && image.PullPolicy != "Always" && !fixed
		if op.Rewrite != "" || op.AlwaysPull {
			a.patch = append(a.patch, op)
		}
	}
	return restores
}

// nothing answers a review that asks about no image.
func (d *door) nothing(x *exchange) int {
	a := x.admission
	a.answer.UID, a.answer.Allowed = a.review.UID, true
	x.reply = wire.AppendAdmissionReply(x.reply[:0], &a.review, &a.answer)
	x.stripe.count(x.kind, engine.Allow, engine.ReasonPassed, true, d.took(x))
	return statusOK
}

// deny writes a denial that no engine made. The apiserver takes it for one only if it carries the uid of the
// request; without, the webhook's failurePolicy decides.
func (a *admission) deny(dst, body []byte, reason string, audit []wire.Annotation) []byte {
	uid := a.review.UID
	if uid == "" {
		uid = peekUID(body)
	}
	return wire.AppendAdmissionReply(dst, &a.review, &wire.AdmissionReply{
		UID: uid, Code: codeDenied, Reason: wordDenied, Message: []byte(reason), Audit: audit,
	})
}

// foretaste is how much of a body is read for its uid, if the rest of it is not to be.
const foretaste = 256

// peekUID finds the uid in the beginning of a body that could not be read as a whole, where the apiserver puts it. It is
// empty if the body begins in another way.
func peekUID(body []byte) string {
	const begins = `{"kind":"` + admissionKind + `","apiVersion":"` + admissionVersion + `","request":{"uid":"`
	rest, ok := bytes.CutPrefix(body[:min(len(body), foretaste)], []byte(begins))
	if !ok {
		return ""
	}
	end := bytes.IndexByte(rest, '"')
	if end < 0 || bytes.ContainsFunc(rest[:end], func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-'
	}) {
		return ""
	}
	return string(rest[:end])
}

// describe adds to a record what an AdmissionReview says of its object.
func (x *exchange) describe(attrs []slog.Attr) []slog.Attr {
	attrs = append(attrs, slog.String("door", x.kind.String()))
	r := &x.admission.review
	for _, of := range [...]struct{ key, value string }{
		{"operation", r.Operation},
		{"kind", r.ObjectKind},
		{"namespace", r.Namespace},
		{"name", r.Name},
		{"subresource", r.SubResource},
	} {
		if of.value != "" {
			attrs = append(attrs, slog.String(of.key, clip(of.value, maxLogged)))
		}
	}
	if r.DryRun {
		attrs = append(attrs, slog.Bool("dryRun", true))
	}
	return attrs
}
