package signature

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"sluice/engine"
)

// The classic format is what cosign v2 writes: an image manifest under the tag sha256-<hex>.sig of the signed digest,
// in which every layer of type payloadType is one signature. The layer's blob is the payload, its annotation
// signatureKey the signature over it in base64. Everything else there (certificates, bundles of a transparency log)
// says nothing about a key, and is not looked at.
const (
	payloadType  = "application/vnd.dev.cosign.simplesigning.v1+json"
	signatureKey = "dev.cosignproject.cosign/signature"
)

// classicTag is the tag under which the signatures of a digest are.
func classicTag(d engine.Digest) string { return "sha256-" + d.Hex() + ".sig" }

// found is what the registry has beside one digest. It is shared and not changed.
type found struct {
	candidates []*candidate // those that are looked at, in the manifest's order
	total      int          // how many there are, looked at or not
	size       int64        // bytes held
}

// candidate is one signature that someone has pushed. Nothing about it is known to be true but the payload's hash.
type candidate struct {
	layer     int // its place in the manifest
	blob      engine.Digest
	size      int64
	signature []byte
	payload   []byte

	fault   error           // why it can't be a signature, whatever the key
	failure *engine.Failure // why its payload could not be had, so that nothing is known of it
}

// fetchClassic gets the signatures of ref.Digest. That there are none is no error. One that can't be had has its own
// failure, so that it does not hide the others.
func fetchClassic(ctx context.Context, f Fetcher, ref engine.Reference) (*found, error) {
	at := engine.Reference{Registry: ref.Registry, Repository: ref.Repository, Tag: classicTag(ref.Digest)}
	m, err := f.Manifest(ctx, at)
	if failure := (*engine.Failure)(nil); errors.As(err, &failure) && failure.Reason == engine.ReasonImageNotFound {
		return &found{}, nil
	}
	if err != nil {
		return nil, err
	}
	all, err := parseManifest(m.Raw)
	if err != nil {
		return nil, err
	}
	fd := &found{total: len(all), candidates: all}
	if len(all) > maxSignatures {
		fd.candidates = append(all[:maxSignatures/2:maxSignatures/2], all[len(all)-maxSignatures/2:]...)
	}
	fetchPayloads(ctx, f, ref, fd.candidates)
	for _, c := range fd.candidates {
		fd.size += int64(len(c.signature)) + int64(len(c.payload)) + candidateOverhead
	}
	return fd, nil
}

// candidateOverhead is about what a candidate takes beside its bytes.
const candidateOverhead = 256

// parseManifest returns the signatures of a manifest, or a [*engine.Failure] if it can't be one. A manifest without
// any, an index among them, is one that the registry was right to serve.
func parseManifest(raw []byte) ([]*candidate, error) {
	var m struct {
		Layers layers `json:"layers"`
	}
	switch err := json.Unmarshal(raw, &m); {
	case errors.Is(err, errTooManyLayers):
		return nil, &engine.Failure{
			Reason: engine.ReasonRegistryMalformed,
			Public: fmt.Sprintf("too many signatures: the signature manifest has more than %d layers", maxLayers),
			Err:    err,
		}
	case err != nil:
		return nil, &engine.Failure{
			Reason: engine.ReasonRegistryMalformed,
			Public: "the registry's answer is no signature manifest",
			Err:    err,
		}
	}
	var all []*candidate
	for i := range m.Layers {
		if l := &m.Layers[i]; l.MediaType == payloadType {
			all = append(all, l.candidate(i))
		}
	}
	return all, nil
}

// layers are the layers of a manifest, of which there are at most maxLayers.
type layers []layer

// layer is what a signature needs of a layer's descriptor.
type layer struct {
	MediaType   string `json:"mediaType"`
	Digest      string `json:"digest"`
	Size        int64  `json:"size"`
	Annotations struct {
		Signature string `json:"dev.cosignproject.cosign/signature"`
	} `json:"annotations"`
}

var errTooManyLayers = errors.New("too many layers")

// UnmarshalJSON reads one layer after the other, so that four megabytes of "{}," do not become ninety.
func (ls *layers) UnmarshalJSON(raw []byte) error {
	*ls = nil
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return err
	}
	for d.More() {
		if len(*ls) == maxLayers {
			return errTooManyLayers
		}
		var l layer
		// What is of the wrong type is skipped: the doing of who pushed it, which leaves the layer no signature.
		var wrongType *json.UnmarshalTypeError
		if err := d.Decode(&l); err != nil && !errors.As(err, &wrongType) {
			return err
		}
		*ls = append(*ls, l)
	}
	return nil
}

// candidate checks whether l may be a signature at all.
func (l *layer) candidate(i int) *candidate {
	c := &candidate{layer: i, size: l.Size}
	var err error
	switch c.blob, err = engine.ParseDigest(l.Digest); {
	case err != nil:
		c.fault = fmt.Errorf("its payload has no digest: %w", err)
	case l.Size <= 0:
		c.fault = fmt.Errorf("its payload has %d bytes", l.Size)
	case l.Annotations.Signature == "":
		c.fault = errors.New("it has no annotation " + signatureKey)
	case len(l.Annotations.Signature) > maxSignatureText:
		c.fault = fmt.Errorf("its signature is longer than %d bytes", maxSignatureText)
	default:
		if c.signature, err = base64.StdEncoding.DecodeString(l.Annotations.Signature); err != nil {
			c.fault = fmt.Errorf("its signature is not base64: %w", err)
		}
	}
	return c
}

// fetchPayloads fills in the payloads, or why there are none. Each blob is fetched once, however many signatures are
// over it: that is what several keys signing one image look like. One that lies about the blob's size shares only
// with those that tell the same lie.
func fetchPayloads(ctx context.Context, f Fetcher, ref engine.Reference, candidates []*candidate) {
	type blob struct {
		digest engine.Digest
		size   int64
	}
	var (
		first  = make(map[blob]*candidate, len(candidates))
		jobs   []*candidate
		budget = int64(maxPayloads)
	)
	for _, c := range candidates {
		at := blob{c.blob, c.size}
		if c.fault != nil || first[at] != nil {
			continue
		}
		first[at] = c
		if c.size > maxPayload || c.size > budget {
			c.failure = &engine.Failure{
				Reason: engine.ReasonRegistryMalformed,
				Public: fmt.Sprintf("a signature's payload is too large (over %d bytes, or %d for all)", maxPayload, maxPayloads),
			}
			continue
		}
		budget -= c.size
		jobs = append(jobs, c)
	}
	fetchAll(ctx, f, ref, jobs)
	for _, c := range candidates {
		if c.fault != nil {
			continue
		}
		if of := first[blob{c.blob, c.size}]; of != c {
			c.payload, c.failure, c.fault = of.payload, of.failure, of.fault
		}
	}
}

// fetchAll fetches the payloads of jobs, at most maxFetches at a time, the first of them on the caller's goroutine.
func fetchAll(ctx context.Context, f Fetcher, ref engine.Reference, jobs []*candidate) {
	var next atomic.Int64
	work := func() {
		for i := int(next.Add(1)) - 1; i < len(jobs); i = int(next.Add(1)) - 1 {
			fetchPayload(ctx, f, ref, jobs[i])
		}
	}
	var wg sync.WaitGroup
	for range min(maxFetches, len(jobs)) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
}

// fetchPayload fetches one payload. A panic below it, which would end the process from this goroutine, is a failure.
func fetchPayload(ctx context.Context, f Fetcher, ref engine.Reference, c *candidate) {
	defer func() {
		if p := recover(); p != nil {
			c.failure = &engine.Failure{
				Reason: engine.ReasonInternal,
				Public: "the check failed",
				Err:    fmt.Errorf("%w: fetching a payload: %v", errPanic, p),
			}
		}
	}()
	at := engine.Reference{Registry: ref.Registry, Repository: ref.Repository}
	payload, err := f.Blob(ctx, at, c.blob, c.size)
	switch {
	case err != nil:
		c.failure = asFailure(err)
		if c.failure.Reason == engine.ReasonImageNotFound { // which would be taken for the image's own absence
			c.failure = &engine.Failure{
				Reason: engine.ReasonRegistryMalformed,
				Public: "the registry has a signature but not its payload",
				Err:    err,
			}
		}
	case int64(len(payload)) != c.size:
		c.fault = fmt.Errorf("its payload has %d bytes, not %d", len(payload), c.size)
	default:
		c.payload = payload
	}
}
