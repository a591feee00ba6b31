package server

import (
	"bytes"
	"context"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"sluice/engine"
	"sluice/server/wire"
)

// The only reviews there are at the doors for ImageReview.
const (
	reviewKind    = "ImageReview"
	reviewVersion = "imagepolicy.k8s.io/v1alpha1"
)

// Decider decides reviews. [engine.Engine] is one. Its methods are called concurrently.
type Decider interface {
	// Hit decides without waiting if it can, and otherwise returns false. It allocates nothing.
	Hit(req *engine.Request, res *engine.Result) bool

	// Decide always leaves an answer in res. It returns soon after ctx has ended, and keeps nothing of req.
	Decide(ctx context.Context, req *engine.Request, res *engine.Result)
}

// The answers to an ImageReview. Anything but 200 is a failure to the plugin, whose defaultAllow then decides; 502 it repeats up to
// five times, 503 never. The words beside them are those by which Kubernetes' clients know what a Status is about:
// with "BadGateway" in place of "InternalError", a 502 would not be repeated.
const (
	statusOK    = 200
	statusDefer = 403 // a Status with this code is the only failure whose message reaches people as it is
	statusRetry = 502
	statusShed  = 503

	wordDefer = "Forbidden"
	wordRetry = "InternalError"
	wordShed  = "ServiceUnavailable"
)

// unusable says what is wrong with a request that is no review, or none of those that are taken. Each is answered with 200
// and allowed: false.
type unusable uint8

const (
	unusableJSON       unusable = iota // not a JSON document of the expected types
	unusableKind                       // another kind or apiVersion
	unusableUID                        // an AdmissionReview without a uid
	unusableObject                     // an AdmissionReview of a kind whose images are not looked for
	unusableEmpty                      // no containers
	unusableTooLarge                   // over the limit on a body
	unusableIncomplete                 // the body ended early, or did not arrive in time
	unusableHTTP                       // not even the request's head could be read

	numUnusable
)

var unusableNames = [numUnusable]string{
	unusableJSON: "not_json", unusableKind: "wrong_kind", unusableUID: "no_uid", unusableObject: "unknown_object",
	unusableEmpty:    "no_containers",
	unusableTooLarge: "too_large", unusableIncomplete: "incomplete", unusableHTTP: "malformed_http",
}

func (u unusable) String() string { return unusableNames[u] }

// door is the one way from request bytes to reply bytes, for both protocols and every kind of
// review.
type door struct {
	decider  Decider
	secrets  PullSecrets // nil: none
	budget   time.Duration
	base     context.Context // ends with the server
	logger   *slog.Logger
	tracer   trace.Tracer // nil: no spans
	counters *counters
	epoch    time.Time // reading the clock as a distance to this costs half of time.Now

	pool sync.Pool     // of *exchange
	made atomic.Uint64 // exchanges, so that they spread over the stripes
}

// exchange is one request and its reply, with the memory both need. It belongs to the goroutine that acquired it.
type exchange struct {
	kind kind // of the door

	// Set by the adapter before decide.
	body     []byte
	query    []byte                     // of the URL, as it came
	ctx      context.Context            // ends with the request; nil: with the server
	carrier  propagation.TextMapCarrier // the request's headers
	protocol protocol
	client   string        // the caller's name by its certificate
	waited   time.Duration // of the review's budget, for room to read the body
	begin    time.Duration // when the body had been read, after door.epoch; negative until then

	reply []byte // set by decide

	// Kept from one use to the next.
	small   []byte  // where small bodies are read to
	frame   []byte  // where HTTP/1.1 puts answers together
	stripe  *stripe // the counters of the core, more or less, that uses this exchange
	request engine.Request
	result  engine.Result
	broken  bool // a panic went through: not to be used again

	review wire.Review // of an ImageReview
	answer wire.Reply

	admission *admission // of an AdmissionReview; nil if there was none yet
}

// acquire returns an exchange for a review of that kind.
func (d *door) acquire(k kind) *exchange {
	x, ok := d.pool.Get().(*exchange)
	if !ok {
		x = &exchange{stripe: &d.counters.stripes[d.made.Add(1)%stripes], begin: -1}
	}
	if x.kind = k; k != imageReview && x.admission == nil {
		x.admission = &admission{}
	}
	return x
}

// keptReply is how large a reply buffer may have grown and still be kept, along with everything that grew with it: as
// large as the digests of 3,000 containers make it, which the engine cuts off at 64 KiB.
const keptReply = 96 << 10

// release takes back an exchange. Nothing of it, the reply included, may be used afterwards.
func (d *door) release(x *exchange) {
	if x.broken || cap(x.reply) > keptReply {
		return
	}
	if x.kind == imageReview {
		x.review.Reset()
	} else {
		x.admission.reset()
	}
	x.body, x.query, x.ctx, x.carrier, x.client, x.waited, x.begin = nil, nil, nil, nil, "", 0, -1
	x.request, x.answer.Reason, x.answer.Prepared = engine.Request{}, nil, nil
	d.pool.Put(x)
}

// decide turns x.body into x.reply and returns the status to answer with. It allocates nothing if the answer is
// remembered. A panic goes through: finish is the caller's.
func (d *door) decide(x *exchange) (status int) {
	status, ok := d.first(x)
	if !ok {
		status = d.second(x)
	}
	return status
}

// hit is decide as far as nobody is waited for, for callers whose goroutine has others to answer. If it is not ok, all
// the rest is left to do: rest must be called, once, on any goroutine, and until then x is not to be touched.
func (d *door) hit(x *exchange) (status int, ok bool) {
	ok = true // of a panic, too, an answer is made
	defer d.finish(x, &status)
	return d.first(x)
}

// rest goes on with a review where hit was not ok. It waits for as long as the review may take.
func (d *door) rest(x *exchange) (status int) {
	defer d.finish(x, &status)
	return d.second(x)
}

// first answers x if it can be done without waiting: what is remembered, and what is no review. The body has been read
// just now: the review's clock starts here.
func (d *door) first(x *exchange) (status int, ok bool) {
	x.begin = time.Since(d.epoch)
	if x.kind != imageReview {
		return d.firstAdmission(x)
	}
	if err := x.review.Decode(x.body); err != nil {
		return d.unusable(x, unusableJSON, "the request is no ImageReview: "+err.Error()), true
	}
	if x.review.Kind != reviewKind || x.review.APIVersion != reviewVersion {
		return d.unusable(x, unusableKind, notA(reviewKind, reviewVersion, x.review.Kind, x.review.APIVersion)), true
	}
	if len(x.review.Images) == 0 {
		return d.unusable(x, unusableEmpty, "the review names no container; a pod has at least one"), true
	}
	x.request.Namespace, x.request.Images = x.review.Namespace, x.review.Images
	if !d.decider.Hit(&x.request, &x.result) {
		return 0, false
	}
	return d.answer(x), true
}

// second has the review decided, however long that takes within its budget.
func (d *door) second(x *exchange) (status int) {
	d.miss(x)
	return d.answer(x)
}

// answer writes the reply, and all that is to be noted of it.
func (d *door) answer(x *exchange) (status int) {
	status = d.write(x)
	d.done(x)
	return status
}

// miss has the review decided within its budget: the smaller of the caller's and ours.
func (d *door) miss(x *exchange) {
	x.stripe.begun.Add(1)
	defer x.stripe.ended.Add(1)
	ctx := x.ctx
	if ctx == nil {
		ctx = d.base
	}
	ctx, cancel := context.WithTimeout(ctx, d.within(x.query)-x.waited-d.took(x))
	defer cancel()
	if d.tracer == nil {
		d.check(ctx, x)
		return
	}
	if x.carrier != nil {
		ctx = propagation.TraceContext{}.Extract(ctx, x.carrier)
	}
	ctx, span := d.tracer.Start(ctx, "review", trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()
	d.check(ctx, x)
	span.SetAttributes(
		attribute.String("sluice.outcome", x.result.Outcome.String()),
		attribute.String("sluice.reason", x.result.Reason.String()),
		attribute.Int("sluice.images", len(x.request.Images)+len(x.request.Kept)),
		attribute.String("sluice.door", x.kind.String()),
	)
}

// check has the decider decide, which waits.
func (d *door) check(ctx context.Context, x *exchange) {
	if x.kind != imageReview && x.admission.unread {
		d.load(ctx, x)
	}
	d.decider.Decide(ctx, &x.request, &x.result)
}

// write appends the answer in x.result to x.reply.
func (d *door) write(x *exchange) int {
	x.reply = x.reply[:0]
	if x.kind != imageReview {
		return d.writeAdmission(x)
	}
	message := x.result.Message()
	switch x.result.Outcome {
	case engine.Retry:
		x.reply = wire.AppendStatus(x.reply, statusRetry, wordRetry, message)
		return statusRetry
	case engine.Defer:
		x.reply = wire.AppendStatus(x.reply, statusDefer, wordDefer, message)
		return statusDefer
	case engine.Shed:
		x.reply = wire.AppendStatus(x.reply, statusShed, wordShed, message)
		return statusShed
	}
	x.answer.Allowed, x.answer.Reason = x.result.Outcome == engine.Allow, message
	if ruling := x.result.Ruling(); ruling != nil {
		x.answer.Prepared = ruling.Form(prepareAudit)
		x.answer.Audit = appendAudit(x.answer.Audit[:0], x.result.Details())
	} else {
		x.answer.Prepared = nil
		x.answer.Audit = appendAudit(x.answer.Audit[:0], x.result.Audit())
	}
	x.reply = wire.AppendReply(x.reply, &x.answer)
	return statusOK
}

// prepareAudit writes down what all the answers of one ruling have in common.
func prepareAudit(r *engine.Ruling) []byte { return wire.Prepare(appendAudit(nil, r.Audit())) }

func appendAudit(dst []wire.Annotation, audit []engine.Annotation) []wire.Annotation {
	for i := range audit {
		dst = append(dst, wire.Annotation(audit[i]))
	}
	return dst
}

// took is how long the review has taken since its request was read.
func (d *door) took(x *exchange) time.Duration {
	if x.begin < 0 {
		return 0
	}
	return time.Since(d.epoch) - x.begin
}

// done counts a review and writes it down.
func (d *door) done(x *exchange) {
	took := d.took(x)
	x.stripe.count(x.kind, x.result.Outcome, x.result.Reason, x.result.Hit, took)
	if x.result.Outcome != engine.Allow || d.logger.Enabled(d.base, slog.LevelDebug) {
		d.logReview(x, took)
	}
}

// unusable denies a request that is no review.
func (d *door) unusable(x *exchange, what unusable, reason string) int {
	x.deny(x.reply[:0], reason, engine.ReasonInvalidRequest)
	x.stripe.unusable[what].Add(1)
	took := d.took(x)
	x.stripe.count(x.kind, engine.Deny, engine.ReasonInvalidRequest, false, took)
	d.logUnusable(x, what, reason, took)
	return statusOK
}

// noRoom denies a review whose body there is no room to read. It is a denial and no failure, which defaultAllow would
// make an admission of: large bodies are a pod's author's to make, as many as it takes.
func (d *door) noRoom(x *exchange) int {
	const reason = "too many large reviews are being read at once; the pod can be created again later"
	x.deny(x.reply[:0], reason, engine.ReasonOverloaded)
	x.stripe.count(x.kind, engine.Deny, engine.ReasonOverloaded, false, x.waited)
	d.logNoRoom(x, reason)
	return statusOK
}

// finish is deferred around everything that is done for an exchange. It makes a denial of a panic: whatever went
// wrong, no pod gets in by it.
func (d *door) finish(x *exchange, status *int) {
	v := recover()
	if v == nil {
		return
	}
	x.broken = true
	d.counters.panics.Add(1)
	d.logger.Error("a panic was recovered, and the review denied", "panic", v, "stack", string(debug.Stack()))
	x.deny(nil, "the review could not be decided because of an internal error", engine.ReasonInternal)
	x.stripe.count(x.kind, engine.Deny, engine.ReasonInternal, false, d.took(x))
	*status = statusOK
}

// deny replies with a denial that no engine made, in the memory of dst.
func (x *exchange) deny(dst []byte, reason string, r engine.Reason) {
	audit := []wire.Annotation{
		{Key: "verdict", Value: []byte(engine.Deny.String())},
		{Key: "reason", Value: []byte(r.String())},
	}
	if x.kind != imageReview {
		x.reply = x.admission.deny(dst, x.body, reason, audit)
		return
	}
	x.reply = wire.AppendReply(dst, &wire.Reply{Reason: []byte(reason), Audit: audit})
}

// within returns how long a review may take: the configured budget, or what the caller's ?timeout= says if that is
// less. A timeout that does not parse, or is not above zero, says nothing.
func (d *door) within(query []byte) time.Duration {
	const name = "timeout="
	for len(query) > 0 {
		var pair []byte
		if i := bytes.IndexByte(query, '&'); i >= 0 {
			pair, query = query[:i], query[i+1:]
		} else {
			pair, query = query, nil
		}
		if len(pair) > len(name) && string(pair[:len(name)]) == name {
			if t, err := time.ParseDuration(string(pair[len(name):])); err == nil && t > 0 {
				return min(t, d.budget)
			}
		}
	}
	return d.budget
}
