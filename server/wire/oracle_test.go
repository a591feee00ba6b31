package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
)

// facts is what a review says, without any machinery.
type facts struct {
	Kind, APIVersion, Namespace string
	Images                      []string
}

func factsOf(r *Review) facts {
	p := facts{Kind: r.Kind, APIVersion: r.APIVersion, Namespace: r.Namespace}
	p.Images = append(p.Images, r.Images...)
	return p
}

// standard reads a body as encoding/json does, on a struct of the same fields.
func standard(body []byte) (facts, error) {
	var v struct {
		Kind       string `json:"kind"`
		APIVersion string `json:"apiVersion"`
		Spec       struct {
			Containers []struct {
				Image string `json:"image"`
			} `json:"containers"`
			Namespace string `json:"namespace"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(body, &v); err != nil {
		return facts{}, err
	}
	p := facts{Kind: v.Kind, APIVersion: v.APIVersion, Namespace: v.Spec.Namespace}
	for _, c := range v.Spec.Containers {
		p.Images = append(p.Images, c.Image)
	}
	return p, nil
}

// oracle says what Decode has to make of a body, with encoding/json for every single step. It differs from [standard] in
// three ways, which alike tells: names match in exact case, the document is an object, and a second containers
// replaces the first as a whole (encoding/json decodes it over the elements of the first, so that an element without
// an image keeps the image that stood there before).
func oracle(body []byte) (p facts, alike bool, err error) {
	if !json.Valid(body) {
		return facts{}, true, errors.New("not JSON")
	}
	alike = true
	exact := func(key, name string) bool {
		alike = alike && (key == name || !strings.EqualFold(key, name))
		return key == name
	}
	container := func(raw json.RawMessage) (image string, err error) {
		if string(raw) == "null" {
			return "", nil
		}
		err = members(raw, func(key string, value json.RawMessage) error {
			if exact(key, "image") {
				return json.Unmarshal(value, &image)
			}
			return nil
		})
		return image, err
	}
	lists := 0
	spec := func(key string, value json.RawMessage) error {
		if exact(key, "namespace") {
			return json.Unmarshal(value, &p.Namespace)
		}
		if !exact(key, "containers") {
			return nil
		}
		lists++
		var elements []json.RawMessage
		if err := json.Unmarshal(value, &elements); err != nil {
			return err
		}
		p.Images = nil
		for _, raw := range elements {
			image, err := container(raw)
			if err != nil {
				return err
			}
			p.Images = append(p.Images, image)
		}
		return nil
	}
	err = members(body, func(key string, value json.RawMessage) error {
		switch {
		case exact(key, "kind"):
			return json.Unmarshal(value, &p.Kind)
		case exact(key, "apiVersion"):
			return json.Unmarshal(value, &p.APIVersion)
		case exact(key, "spec") && string(value) != "null":
			return members(value, spec)
		}
		return nil
	})
	if err != nil {
		p = facts{}
	}
	object := len(body) > 0 && bytes.TrimLeft(body, " \t\r\n")[0] == '{'
	return p, alike && lists < 2 && object, err
}

// members calls f for each member of an object, in order, duplicates included.
func members(object json.RawMessage, f func(key string, value json.RawMessage) error) error {
	d := json.NewDecoder(bytes.NewReader(object))
	if brace, err := d.Token(); err != nil || brace != json.Delim('{') {
		return errors.New("not an object")
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		if err := f(key.(string), value); err != nil {
			return err
		}
	}
	return nil
}
