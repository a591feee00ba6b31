package resolver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"sluice/engine"
	"sluice/resolver/mirror"
)

// Referrers are the manifests that name one digest as their subject.
type Referrers struct {
	// Descriptors are in the registry's order. Of more than [MaxReferrers], they are the first half and the last:
	// clients append to the fallback tag, so that neither what was there before someone pushed junk nor what came
	// after it is lost.
	Descriptors []Descriptor

	// Total is how many the registry lists, as far as the list was read. There is more than Descriptors has if it is
	// greater than their number.
	Total int

	FallbackTag bool // they came from the tag, since the registry has no referrers API
}

// Descriptor is one of them, as the list describes it. Nothing of it is checked but its form.
type Descriptor struct {
	MediaType    string
	ArtifactType string // the tools disagree on its value; a hint at best
	Digest       engine.Digest
	Size         int64
	Annotations  map[string]string // some at most, and none that is long
}

// MaxReferrers is how many referrers of one digest are listed.
const MaxReferrers = 1000

const (
	maxReferrerPages = 16     // of one list
	maxReferrersRead = 10_000 // descriptors of one list, listed or only counted

	maxDescriptorText        = 255 // bytes of a media type: RFC 6838 allows 127 for each half
	maxDescriptorAnnotations = 16
	maxDescriptorAnnotation  = 512 // bytes of a name, or of a value

	noReferrersTTL = 5 * time.Minute
	maxNoReferrers = 4096
)

// Referrers lists the manifests whose subject is ref.Digest: by the referrers API (OCI distribution specification 1.1,
// "Listing Referrers"), or where the registry has none by the fallback tag sha256-<hex>. That there are none is no
// error. Every error is a [*engine.Failure]; [engine.ReasonImageNotFound] is none of their reasons.
//
// Only the registry itself is believed, and what a hosts.toml names in its place: no redirect to another host is
// followed. Of several servers the first that lists any is believed, so that what a mirror has not is looked for at the
// next one. A mirror that lists some and not others hides those, and a signature among them: that can only deny, costs
// no further request where the mirror is complete, and needs no registry where nothing but the mirror is in reach.
func (r *Resolver) Referrers(ctx context.Context, ref engine.Reference) (Referrers, error) {
	if ref.Digest == "" {
		return Referrers{}, invalidReference(errors.New("referrers are those of a digest"))
	}
	e, ref, err := r.endpoint(ref)
	if err != nil {
		return Referrers{}, err
	}
	if e.servers == nil {
		return r.referrersAt(ctx, e, ref)
	}
	what := mirror.Referrers
	if !e.can(what) { // as containerd does
		what = mirror.Resolve
	}
	var list Referrers
	err = r.inTurn(ctx, e, what, func(e endpoint) (bool, error) {
		l, err := r.referrersAt(ctx, e, ref)
		if err != nil {
			return false, err
		}
		list = l
		return l.Total > 0, nil
	})
	if err != nil {
		return Referrers{}, err
	}
	return list, nil
}

// referrersAt asks one server.
func (r *Resolver) referrersAt(ctx context.Context, e endpoint, ref engine.Reference) (Referrers, error) {
	// For each repository, not for each host: a host may well be several registries behind one name, and then one
	// repository without the API must not hide the signatures of the others.
	key := repositoryKey{e.key(), ref.Repository, accessID(e.access)}
	api := e.at == nil || e.at.spec.Capabilities.Has(mirror.Referrers)
	if _, none := r.noReferrers.Get(key, r.noReferrers.Now()); api && !none {
		list, answer, err := r.listReferrers(ctx, e, ref)
		if err != nil || answer == hasReferrers {
			return list, err
		}
		if answer == noReferrersAPI {
			_, err := r.noReferrers.Do(ctx, key, func(context.Context) (struct{}, time.Duration, error) {
				return struct{}{}, noReferrersTTL, nil
			})
			if err != nil {
				return Referrers{}, asFailure(e.host, err)
			}
		}
	}
	return r.fallbackReferrers(ctx, e, ref)
}

// repositoryKey is a repository of a host, as seen by an Access.
type repositoryKey struct{ host, repository, access string }

// referrersAnswer is what a registry says to a request for a list of referrers.
type referrersAnswer int

const (
	hasReferrers   referrersAnswer = iota
	noReferrersAPI                 // in this repository
	noReferrersNow                 // none to be had this time, which says nothing about the next
)

// listReferrers asks the referrers API, page by page.
func (r *Resolver) listReferrers(ctx context.Context, e endpoint, ref engine.Reference) (Referrers, referrersAnswer, error) {
	path := e.root() + "/" + ref.Repository + "/referrers/" + string(ref.Digest)
	a := ask{class: classReferrers, where: toRegistry, accept: string(types.OCIImageIndex), max: MaxManifest}
	var (
		list  descriptors
		asked = map[string]bool{"": true} // queries: a list that leads back to itself is none
		read  int
	)
	for page := 1; ; page++ {
		a.lacks = page == 1
		rep, err := r.get(ctx, e, a, ref.Repository, path)
		if err != nil {
			return Referrers{}, hasReferrers, err
		}
		mediaType, _, _ := mime.ParseMediaType(rep.header.Get("Content-Type"))
		switch isIndex := mediaType == string(types.OCIImageIndex); {
		case rep.status == http.StatusNotFound && unknownName(rep.body):
			return Referrers{}, noReferrersNow, nil
		case page == 1 && (rep.status != http.StatusOK || !isIndex):
			return Referrers{}, noReferrersAPI, nil
		case !isIndex:
			return Referrers{}, hasReferrers, e.failf(engine.ReasonRegistryMalformed,
				fmt.Errorf("page %d has Content-Type %.100q", page, mediaType), "lists referrers in an unknown form")
		}
		if err := list.add(rep.body); err != nil {
			return Referrers{}, hasReferrers, e.failf(engine.ReasonRegistryMalformed, err, "sent a list of referrers that is none")
		}
		read += len(rep.body)
		next, more, f := e.nextPage(rep.header, path, a.query)
		if f != nil {
			return Referrers{}, hasReferrers, f
		}
		if !more {
			break
		}
		if asked[next] {
			return Referrers{}, hasReferrers, e.failf(engine.ReasonRegistryMalformed,
				fmt.Errorf("page %d leads back to one before it", page), "sent a list of referrers without an end")
		}
		if page == maxReferrerPages || read >= MaxManifest || list.full() {
			list.more = true
			break
		}
		asked[next], a.query = true, next
	}
	return list.referrers(), hasReferrers, nil
}

// lacksReferrers tells whether a status may mean that the registry has no referrers API. The first three are those
// that go-containerregistry takes for it.
func lacksReferrers(status int) bool {
	switch status {
	case http.StatusNotFound, http.StatusBadRequest, http.StatusNotAcceptable,
		http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return true
	}
	return false
}

// unknownName tells whether an error is about what was asked for, so that it says nothing about the API.
func unknownName(body []byte) bool {
	for code := range strings.FieldsSeq(errorCodes(body)) {
		switch code {
		case "NAME_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN":
			return true
		}
	}
	return false
}

// nextPage returns the query of the next page, if the answer names one (RFC 8288): on this registry, at this path.
func (e endpoint) nextPage(h http.Header, path, query string) (next string, ok bool, f *engine.Failure) {
	malformed := func(err error) (string, bool, *engine.Failure) {
		return "", false, e.failf(engine.ReasonRegistryMalformed, err, "lists referrers whose next page is elsewhere")
	}
	target, ok := nextLink(h)
	if !ok {
		return "", false, nil
	}
	u, err := (&url.URL{Scheme: e.scheme(), Host: e.address(), Path: path, RawQuery: e.query(query)}).Parse(target)
	switch {
	case err != nil:
		return malformed(errors.New("a Link that is no address"))
	case u.Scheme != e.scheme() || !e.owns(u) || u.User != nil:
		return malformed(fmt.Errorf("a Link to %.100q", u.Host))
	case u.Path != path:
		return malformed(fmt.Errorf("a Link to the path %.300q", u.Path))
	}
	return u.RawQuery, true, nil
}

// nextLink returns the target of the first link whose relation is next.
func nextLink(h http.Header) (string, bool) {
	const maxLink = 8 << 10
	for _, value := range h.Values("Link") {
		if len(value) > maxLink {
			continue
		}
		for {
			_, rest, ok := strings.Cut(value, "<")
			target, rest, closed := strings.Cut(rest, ">")
			if !ok || !closed {
				break
			}
			params, _, _ := strings.Cut(rest, "<") // up to the next link
			for param := range strings.FieldsFuncSeq(params, func(c rune) bool { return c == ';' || c == ',' }) {
				name, relation, _ := strings.Cut(strings.TrimSpace(param), "=")
				if strings.EqualFold(name, "rel") && strings.EqualFold(strings.Trim(relation, `"`), "next") {
					return target, true
				}
			}
			value = rest
		}
	}
	return "", false
}

// fallbackReferrers reads the tag in which clients list referrers for registries that have no API (OCI distribution
// specification 1.1, "Referrers Tag Schema").
func (r *Resolver) fallbackReferrers(ctx context.Context, e endpoint, ref engine.Reference) (Referrers, error) {
	tag := engine.Reference{Registry: ref.Registry, Repository: ref.Repository, Tag: "sha256-" + ref.Digest.Hex()}
	m, err := r.fetchManifestAt(ctx, e, tag)
	if f := (*engine.Failure)(nil); errors.As(err, &f) && f.Reason == engine.ReasonImageNotFound {
		return Referrers{FallbackTag: true}, nil
	}
	if err != nil {
		return Referrers{}, err
	}
	if m.MediaType != string(types.OCIImageIndex) {
		return Referrers{}, e.failf(engine.ReasonRegistryMalformed, fmt.Errorf("the tag %s is of type %s", tag.Tag, m.MediaType),
			"has something else than a list of referrers under its tag")
	}
	var list descriptors
	if err := list.add(m.Raw); err != nil {
		return Referrers{}, e.failf(engine.ReasonRegistryMalformed, err, "sent a list of referrers that is none")
	}
	found := list.referrers()
	found.FallbackTag = true
	return found, nil
}

// descriptors are the manifests of an index, or of the pages of one: those that are kept, and the count of all.
type descriptors struct {
	first, last []Descriptor // last is a ring of MaxReferrers/2
	kept        int          // how many went into first and last: those with a digest of ours, since others can't be had
	read        int          // whatever they are
	more        bool         // there are some that were not read
}

func (ds *descriptors) full() bool { return ds.read >= maxReferrersRead }

// add reads one index.
func (ds *descriptors) add(raw []byte) error {
	doc := struct {
		MediaType string      `json:"mediaType"`
		Manifests manifestsOf `json:"manifests"`
	}{Manifests: manifestsOf{into: ds}}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return err
	}
	if doc.MediaType != "" && doc.MediaType != string(types.OCIImageIndex) {
		return fmt.Errorf("it says that it is of type %.100q", doc.MediaType)
	}
	return nil
}

// referrers returns what is kept, in the order in which it came.
func (ds *descriptors) referrers() Referrers {
	const half = MaxReferrers / 2
	all, total := ds.first, ds.kept
	if beyond := ds.kept - half; len(ds.last) == half && beyond > half {
		at := beyond % half
		all = append(append(all, ds.last[at:]...), ds.last[:at]...)
	} else {
		all = append(all, ds.last...)
	}
	if ds.more {
		total++ // at least
	}
	return Referrers{Descriptors: all, Total: total}
}

func (ds *descriptors) keep(d Descriptor) {
	const half = MaxReferrers / 2
	switch {
	case len(ds.first) < half:
		ds.first = append(ds.first, d)
	case len(ds.last) < half:
		ds.last = append(ds.last, d)
	default:
		ds.last[(ds.kept-half)%half] = d
	}
	ds.kept++
}

// manifestsOf is the member of an index that its descriptors are read from.
type manifestsOf struct {
	into *descriptors
	seen bool
}

// UnmarshalJSON reads one descriptor after the other, so that four megabytes of "{}," do not become ninety.
func (m *manifestsOf) UnmarshalJSON(raw []byte) error {
	if m.seen {
		return errors.New("manifests is there twice")
	}
	m.seen = true
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return err
	}
	for d.More() {
		if m.into.full() {
			m.into.more = true
			return nil
		}
		m.into.read++
		var one struct {
			MediaType    string      `json:"mediaType"`
			ArtifactType string      `json:"artifactType"`
			Digest       string      `json:"digest"`
			Size         int64       `json:"size"`
			Annotations  annotations `json:"annotations"`
		}
		// What is of the wrong type is skipped: the doing of who pushed it.
		var wrongType *json.UnmarshalTypeError
		if err := d.Decode(&one); err != nil && !errors.As(err, &wrongType) {
			return err
		}
		digest, err := engine.ParseDigest(one.Digest)
		if err != nil {
			continue
		}
		m.into.keep(Descriptor{
			MediaType: short(one.MediaType), ArtifactType: short(one.ArtifactType),
			Digest: digest, Size: one.Size, Annotations: one.Annotations,
		})
	}
	return nil
}

func short(s string) string {
	if len(s) > maxDescriptorText {
		return ""
	}
	return s
}

// annotations are the first of a descriptor's; what is long, or no text, is left out.
type annotations map[string]string

// UnmarshalJSON reads one annotation after the other, so that a million of them make no map.
func (a *annotations) UnmarshalJSON(raw []byte) error {
	*a = nil
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return err
	}
	for range maxDescriptorAnnotations {
		if !d.More() {
			return nil
		}
		name, err := d.Token()
		if err != nil {
			return err
		}
		var value string
		if err := d.Decode(&value); err != nil {
			if wrongType := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrongType) {
				continue
			}
			return err
		}
		if text, ok := name.(string); ok && len(text) <= maxDescriptorAnnotation && len(value) <= maxDescriptorAnnotation {
			if *a == nil {
				*a = make(annotations)
			}
			(*a)[text] = value
		}
	}
	return nil
}
