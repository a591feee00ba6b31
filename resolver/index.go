package resolver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"sluice/engine"
)

const (
	// maxChildren is how many manifests an index may have. Those of the official images have some thirty.
	maxChildren = 256

	// maxPlatformText bounds an operating system's, an architecture's or a variant's name, in bytes.
	maxPlatformText = 32

	// childrenTTL is how long it is remembered what an index is made of. It never changes; what may change is that the
	// registry has it, and lets us see it.
	childrenTTL = time.Hour

	// maxIndexes is how many indexes are remembered. One with more than childrenShare manifests counts for as many as
	// it has shares.
	maxIndexes    = 10_000
	childrenShare = 16
)

// indexKey names an index, or a manifest that turned out to be none, where it lies: who may see it in one repository
// may not in another.
type indexKey struct {
	host, repository string
	access           string // Access.ID
	digest           engine.Digest
}

// Children returns the manifests of the index ref.Digest, in its order, or none if it is no index; they are remembered.
// Every error is a [*engine.Failure]. It implements [engine.Resolver].
func (r *Resolver) Children(ctx context.Context, ref engine.Reference) ([]engine.Child, error) {
	if ref.Digest == "" {
		return nil, invalidReference(errors.New("an index is asked for by its digest"))
	}
	e, ref, err := r.endpoint(ref)
	if err != nil {
		return nil, err
	}
	key := indexKey{e.host, ref.Repository, accessID(e.access), ref.Digest}
	loaded, err := r.indexes.Do(ctx, key, func(ctx context.Context) ([]engine.Child, time.Duration, error) {
		m, err := r.fetchManifest(ctx, e, ref)
		if err != nil {
			return nil, 0, err
		}
		children, err := parseChildren(m)
		if err != nil {
			return nil, 0, e.failf(engine.ReasonRegistryMalformed, err, "sent an index of images that is none")
		}
		return children, childrenTTL, nil
	})
	if err != nil {
		return nil, asFailure(e.host, err)
	}
	return slices.Clone(loaded.Value), nil
}

func indexCost(_ indexKey, children []engine.Child) int64 {
	return 1 + int64(len(children))/childrenShare
}

// parseChildren reads what an index is made of. The media type is the registry's word only, and is not covered by the
// digest: bytes that are an image to one reader and an index to another are refused, whatever they are called.
func parseChildren(m Manifest) ([]engine.Child, error) {
	var doc struct {
		MediaType string   `json:"mediaType"`
		Manifests children `json:"manifests"`
		Config    present  `json:"config"`
		Layers    present  `json:"layers"`
	}
	if err := json.Unmarshal(m.Raw, &doc); err != nil {
		return nil, err
	}
	index := isIndex(m.MediaType)
	switch {
	case doc.MediaType != "" && doc.MediaType != m.MediaType:
		return nil, fmt.Errorf("it says that it is of type %.100q, and the registry says %s", doc.MediaType, m.MediaType)
	case index && (bool(doc.Config) || bool(doc.Layers)):
		return nil, errors.New("an index with a configuration or layers")
	case !index && doc.Manifests != nil:
		return nil, errors.New("an image with manifests")
	}
	return doc.Manifests, nil
}

func isIndex(mediaType string) bool {
	switch types.MediaType(mediaType) {
	case types.OCIImageIndex, types.DockerManifestList:
		return true
	}
	return false
}

// present tells whether a member is there.
type present bool

// UnmarshalJSON notes that it is.
func (p *present) UnmarshalJSON([]byte) error {
	*p = true
	return nil
}

// children are the manifests of an index, of which there are at most maxChildren.
type children []engine.Child

// UnmarshalJSON reads one descriptor after the other, so that four megabytes of "{}," do not become ninety.
func (cs *children) UnmarshalJSON(raw []byte) error {
	if *cs != nil {
		return errors.New("manifests is there twice")
	}
	*cs = children{}
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return errors.Join(err, errors.New("manifests is no list"))
	}
	for d.More() {
		if len(*cs) == maxChildren {
			return fmt.Errorf("more than %d manifests", maxChildren)
		}
		var one struct {
			MediaType string   `json:"mediaType"`
			Digest    string   `json:"digest"`
			Platform  platform `json:"platform"`
		}
		if err := d.Decode(&one); err != nil {
			return err
		}
		digest, err := engine.ParseDigest(one.Digest)
		if err != nil {
			return err
		}
		text, err := one.Platform.text()
		if err != nil {
			return err
		}
		*cs = append(*cs, engine.Child{Digest: digest, Platform: text, Index: isIndex(one.MediaType)})
	}
	return nil
}

type platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
}

// text returns os/architecture or os/architecture/variant; nothing if one of the first two is missing.
func (p platform) text() (string, error) {
	for _, s := range []string{p.OS, p.Architecture, p.Variant} {
		odd := func(c rune) bool {
			return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("._-", c)
		}
		if len(s) > maxPlatformText || strings.ContainsFunc(s, odd) {
			return "", fmt.Errorf("a platform of %.40q", s)
		}
	}
	switch {
	case p.OS == "" || p.Architecture == "":
		return "", nil
	case p.Variant == "":
		return p.OS + "/" + p.Architecture, nil
	}
	return p.OS + "/" + p.Architecture + "/" + p.Variant, nil
}
