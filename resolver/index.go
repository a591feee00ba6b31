package resolver

import (
	"encoding/json"
	"errors"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"sluice/engine"
)

// maxChildren is how many manifests an index may have. Those of the official images have some thirty.
const maxChildren = 256

// parseChildren reads what an index is made of.
func parseChildren(m Manifest) ([]engine.Child, error) {
	switch types.MediaType(m.MediaType) {
	case types.OCIImageIndex, types.DockerManifestList:
	default:
		return nil, nil
	}
	var index struct {
		Manifests []struct {
			MediaType string `json:"mediaType"`
			Digest    string `json:"digest"`
			Platform  *struct {
				OS           string `json:"os"`
				Architecture string `json:"architecture"`
				Variant      string `json:"variant"`
			} `json:"platform"`
		} `json:"manifests"`
	}
	malformed := func(err error) ([]engine.Child, error) {
		return nil, &engine.Failure{
			Reason: engine.ReasonRegistryMalformed, Public: "the registry's answer is no index of images", Err: err,
		}
	}
	if err := json.Unmarshal(m.Raw, &index); err != nil {
		return malformed(err)
	}
	if len(index.Manifests) > maxChildren {
		return malformed(errors.New("more than 256 manifests"))
	}
	var children []engine.Child
	for _, c := range index.Manifests {
		d, err := engine.ParseDigest(c.Digest)
		if err != nil {
			return malformed(err)
		}
		child := engine.Child{Digest: d}
		switch types.MediaType(c.MediaType) {
		case types.OCIImageIndex, types.DockerManifestList:
			child.Index = true
		}
		if p := c.Platform; p != nil {
			child.Platform = p.OS + "/" + p.Architecture
			if p.Variant != "" {
				child.Platform += "/" + p.Variant
			}
		}
		children = append(children, child)
	}
	return children, nil
}
