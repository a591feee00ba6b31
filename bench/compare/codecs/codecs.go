// Package codecs reads a review and writes a reply in several ways, for benchmarks.
package codecs

import (
	"encoding/json"
	"errors"

	"github.com/valyala/fastjson"

	"sluice/server/wire"
)

// Codec is one way. It is not safe for concurrent use.
type Codec interface {
	// Decode returns the namespace and the images. It may write to body; what it returns is valid until the next call.
	Decode(body []byte) (namespace string, images []string, err error)
	// Encode appends the reply.
	Encode(dst []byte, r *wire.Reply) ([]byte, error)
}

// Maker makes a codec.
type Maker struct {
	Name string
	New  func() Codec
}

// Makers lists the codecs.
func Makers() []Maker {
	return []Maker{
		{"sluice", func() Codec { return new(wireCodec) }},
		{"fastjson", func() Codec { return new(fastjsonCodec) }},
		{"encoding/json", func() Codec { return standardCodec{} }},
	}
}

type wireCodec struct{ review wire.Review }

func (c *wireCodec) Decode(body []byte) (string, []string, error) {
	err := c.review.Decode(body)
	return c.review.Namespace, c.review.Images, err
}

func (c *wireCodec) Encode(dst []byte, r *wire.Reply) ([]byte, error) {
	return wire.AppendReply(dst, r), nil
}

type fastjsonCodec struct {
	parser fastjson.Parser
	arena  fastjson.Arena
	images []string
}

func (c *fastjsonCodec) Decode(body []byte) (string, []string, error) {
	v, err := c.parser.ParseBytes(body)
	if err != nil {
		return "", nil, err
	}
	if string(v.GetStringBytes("kind")) != "ImageReview" {
		return "", nil, errors.New("no review")
	}
	c.images = c.images[:0]
	for _, container := range v.GetArray("spec", "containers") {
		c.images = append(c.images, text(container.GetStringBytes("image")))
	}
	return text(v.GetStringBytes("spec", "namespace")), c.images, nil
}

func (c *fastjsonCodec) Encode(dst []byte, r *wire.Reply) ([]byte, error) {
	a := &c.arena
	a.Reset()
	status := a.NewObject()
	if r.Allowed {
		status.Set("allowed", a.NewTrue())
	} else {
		status.Set("allowed", a.NewFalse())
	}
	if len(r.Reason) > 0 {
		status.Set("reason", a.NewStringBytes(r.Reason))
	}
	if len(r.Audit) > 0 {
		audit := a.NewObject()
		for _, n := range r.Audit {
			audit.Set(n.Key, a.NewStringBytes(n.Value))
		}
		status.Set("auditAnnotations", audit)
	}
	review := a.NewObject()
	review.Set("kind", a.NewString("ImageReview"))
	review.Set("apiVersion", a.NewString("imagepolicy.k8s.io/v1alpha1"))
	review.Set("status", status)
	return review.MarshalTo(dst), nil
}

type standardCodec struct{}

type standardReview struct {
	Kind       string `json:"kind"`
	APIVersion string `json:"apiVersion"`
	Spec       *struct {
		Containers []struct {
			Image string `json:"image"`
		} `json:"containers"`
		Namespace string `json:"namespace"`
	} `json:"spec,omitempty"`
	Status *standardStatus `json:"status,omitempty"`
}

type standardStatus struct {
	Allowed          bool              `json:"allowed"`
	Reason           string            `json:"reason,omitempty"`
	AuditAnnotations map[string]string `json:"auditAnnotations,omitempty"`
}

func (standardCodec) Decode(body []byte) (string, []string, error) {
	var r standardReview
	if err := json.Unmarshal(body, &r); err != nil {
		return "", nil, err
	}
	if r.Kind != "ImageReview" || r.Spec == nil {
		return "", nil, errors.New("no review")
	}
	images := make([]string, len(r.Spec.Containers))
	for i, c := range r.Spec.Containers {
		images[i] = c.Image
	}
	return r.Spec.Namespace, images, nil
}

func (standardCodec) Encode(dst []byte, r *wire.Reply) ([]byte, error) {
	status := &standardStatus{Allowed: r.Allowed, Reason: string(r.Reason)}
	if len(r.Audit) > 0 {
		status.AuditAnnotations = make(map[string]string, len(r.Audit))
		for _, n := range r.Audit {
			status.AuditAnnotations[n.Key] = string(n.Value)
		}
	}
	content, err := json.Marshal(standardReview{Kind: "ImageReview", APIVersion: "imagepolicy.k8s.io/v1alpha1", Status: status})
	return append(dst, content...), err
}
