package server

import (
	"context"
	"strconv"
	"time"

	"sluice/engine"
	"sluice/server/wire"
)

// Admission is what the doors for AdmissionReview need beside what all doors do.
type Admission struct {
	// Anonymous lets these doors, and no others, answer callers without a certificate or a token: a managed apiserver
	// presents neither to a webhook. Who can reach the port can then ask what becomes of an image.
	Anonymous bool

	PullSecrets PullSecrets // nil: none are read
}

// PullSecrets finds the credentials that a pod's own secrets hold: those that it names, or its service account does. Its
// methods are called concurrently. serviceAccount is never empty. The strings are part of a buffer that is used again:
// what is kept of them must be cloned.
type PullSecrets interface {
	// Known returns what is remembered, which may be nil for no credentials, and whether anything is. It must not wait,
	// and is asked for every review.
	Known(namespace, serviceAccount string, names []string) (*engine.Access, bool)

	// Load finds the credentials, and returns when ctx ends. Where it returns nil, the review goes on without any.
	Load(ctx context.Context, namespace, serviceAccount string, names []string) *engine.Access
}

// The only reviews there are at these doors.
const (
	admissionKind    = "AdmissionReview"
	admissionVersion = "admission.k8s.io/v1"
)

// The operations, and the one subresource, that differ from others.
const (
	operationUpdate  = "UPDATE"
	operationDelete  = "DELETE"
	operationConnect = "CONNECT"

	subresourceEphemeral = "ephemeralcontainers"
)

// Kinds that differ from others in what may be written to them.
const (
	kindPod        = "Pod"
	kindReplicaSet = "ReplicaSet"
	kindJob        = "Job"
)

// admission is what an exchange at these doors needs of memory. The strings in it alias the request's body.
type admission struct {
	review wire.Admission
	answer wire.AdmissionReply

	images  []string // asked about
	kept    []string // asked about, and there before
	touched []touched
	before  before
	unread  bool // the pull secrets have to be read first

	text     []byte // of the warnings
	warnings [][]byte
	patch    []wire.PatchOp
}

// touched is an image that is new or has been changed.
type touched struct {
	index int    // in review.Images
	added bool   // together with its container, or volume
	was   string // the image in its place, in an update
}

// keptAdmission is how long the lists of an admission may have grown and still be kept.
const keptAdmission = 256

// reset lets go of everything that is part of a body.
func (a *admission) reset() {
	a.review.Reset()
	a.answer = wire.AdmissionReply{Audit: emptied(a.answer.Audit)}
	a.images, a.kept = emptied(a.images), emptied(a.kept)
	a.touched, a.warnings, a.patch = emptied(a.touched), emptied(a.warnings), emptied(a.patch)
	a.text = a.text[:0] // which is bounded by what the apiserver takes
	a.before, a.unread = before{}, false
}

// emptied returns s without elements, and nil in place of a large one.
func emptied[E any](s []E) []E {
	if cap(s) > keptAdmission {
		return nil
	}
	clear(s)
	return s[:0]
}

// firstAdmission is first for an AdmissionReview.
func (d *door) firstAdmission(x *exchange) (status int, ok bool) {
	a := x.admission
	r := &a.review
	if err := r.Decode(x.body); err != nil {
		return d.unusable(x, unusableJSON, "the request is no AdmissionReview: "+err.Error()), true
	}
	switch {
	case r.Kind != admissionKind || r.APIVersion != admissionVersion:
		return d.unusable(x, unusableKind, notA(admissionKind, admissionVersion, r.Kind, r.APIVersion)), true
	case r.UID == "":
		return d.unusable(x, unusableUID, "the review has no uid, so that nobody could tell what the answer belongs to"), true
	case r.Operation == operationDelete || r.Operation == operationConnect:
		return d.nothing(x), true // no image comes to run by it
	case !r.Known():
		return d.unusable(x, unusableObject, "this kind is not known here: "+echoed(r.ObjectKind)+" of "+echoed(groupVersion(r))+
			"; the webhook's rules are to name pods and what has a pod template"), true
	}
	if a.ask(x.kind); len(a.images)+len(a.kept) == 0 {
		return d.nothing(x), true
	}
	x.request = engine.Request{Namespace: r.Namespace, Images: a.images, Kept: a.kept, Pin: x.kind == mutate}
	if d.secrets != nil {
		access, known := d.secrets.Known(r.Namespace, a.serviceAccount(), r.PullSecrets)
		if a.unread = !known; a.unread {
			return 0, false
		}
		x.request.Access = access
	}
	if !d.decider.Hit(&x.request, &x.result) {
		return 0, false
	}
	return d.answer(x), true
}

// load reads the pull secrets that are not known. It takes half of the time there is at most: an apiserver that does not
// answer must not leave nothing for what can be decided without it.
func (d *door) load(ctx context.Context, x *exchange) {
	a := x.admission
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/2)
		defer cancel()
	}
	x.request.Access = d.secrets.Load(ctx, a.review.Namespace, a.serviceAccount(), a.review.PullSecrets)
}

// serviceAccount is the name of the account that the pod runs as.
func (a *admission) serviceAccount() string {
	if a.review.ServiceAccount == "" {
		return "default"
	}
	return a.review.ServiceAccount
}

// ask picks the images that the answer depends on.
func (a *admission) ask(k kind) {
	r := &a.review
	if k == mutate && r.ObjectKind == kindReplicaSet {
		// Nearly all are made by Deployments, which look for the one whose template is their own: if it had been changed,
		// they would make another, without end. The pods are changed in its place.
		return
	}
	update := r.Operation == operationUpdate && len(r.OldImages) > 0
	if update {
		a.before.set(r.OldImages)
	}
	for i := range r.Images {
		image := &r.Images[i]
		switch {
		case k == validate && update && a.before.keeps(image):
			a.kept = append(a.kept, image.Image)
		case k == validate:
			a.images = append(a.images, image.Image)
		case image.Image == "": // somebody else is to put one there
		case !update:
			a.touched, a.images = append(a.touched, touched{index: i, added: true}), append(a.images, image.Image)
		default:
			t := touched{index: i}
			if old := a.before.place(image); old == nil {
				t.added = true
			} else if t.was = old.Image; t.was == image.Image && old.PullPolicy == image.PullPolicy {
				continue
			}
			a.touched, a.images = append(a.touched, t), append(a.images, image.Image)
		}
	}
}

// before is what the object of an update was. Beyond a few images it keeps a table: of hostile objects with thousands,
// nobody is to compare each with each.
type before struct {
	images  []wire.Image
	byPlace map[place]*wire.Image
}

// place is where in an object an image stands, for as long as the object lives: a container's position may change.
type place struct {
	list      wire.List
	container string
}

// fewImages is up to where comparing with each beats a table.
const fewImages = 16

func (b *before) set(images []wire.Image) {
	b.images = images
	if len(images) <= fewImages {
		return
	}
	b.byPlace = make(map[place]*wire.Image, len(images))
	for i := range images {
		b.byPlace[place{images[i].List, images[i].Container}] = &images[i]
	}
}

// keeps tells whether the image stays where it was. In another container it does not stay but begins: a debug container with
// an image that the pod has already pulls it once more, and its tag may have moved since that was judged.
func (b *before) keeps(image *wire.Image) bool {
	old := b.place(image)
	return old != nil && old.Image == image.Image
}

// place returns what was in the place of an image, or nil.
func (b *before) place(image *wire.Image) *wire.Image {
	if b.byPlace != nil {
		return b.byPlace[place{image.List, image.Container}]
	}
	for i := range b.images {
		if b.images[i].List == image.List && b.images[i].Container == image.Container {
			return &b.images[i]
		}
	}
	return nil
}

// echoed repeats some of a request's own words.
func echoed(s string) string { return strconv.QuoteToASCII(clip(s, maxEcho)) }

// notA says that a review is another one than is taken at its door.
func notA(kind, version, gotKind, gotVersion string) string {
	return "the request is no " + kind + " of " + version + ": it is a " + echoed(gotKind) + " of " + echoed(gotVersion)
}

func groupVersion(r *wire.Admission) string {
	if r.Group == "" {
		return r.Version
	}
	return r.Group + "/" + r.Version
}
