package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"maps"
	"slices"
	"strconv"

	"sluice/engine"
)

// fingerprint is the SHA-256 of all that can change a verdict, its text or its life. Documents that mean the same
// have the same, whatever their comments, their form, their file's name and where their keys came from.
//
// Every part is preceded by its length and every list by its count, so that no two policies write the same bytes;
// the first part sets this use of SHA-256 apart from others. The format is part of no interface and may change.
func fingerprint(p *engine.Policy, namespaces []string) [32]byte {
	w := canonical{sha256.New()}
	w.text("sluice ImagePolicy 2")
	w.text(p.Name)
	w.list(len(namespaces))
	for _, n := range namespaces {
		w.text(n)
	}
	w.globs(p.Images)
	w.globs(p.Tags.Deny)
	w.text(strconv.FormatBool(p.Tags.RequireDigest))
	w.list(len(p.Authorities))
	for _, a := range p.Authorities {
		w.text(a.Name)
		w.list(int(a.Static))
		w.trust(a.Trust)
		w.text(a.Repository.Registry)
		w.text(a.Repository.Path)
		w.list(len(a.Identities))
		for _, id := range a.Identities {
			w.pattern(id.Issuer)
			w.pattern(id.Subject)
		}
		w.text(strconv.FormatBool(a.RequireReferenceMatch))
		w.list(int(a.MaxAge))
		w.text(strconv.FormatBool(a.Distinct))
		w.list(len(a.Attestations))
		for _, t := range a.Attestations {
			w.text(t.Name)
			w.text(t.PredicateType)
			w.expression(t.Expression)
		}
		w.list(len(a.Annotations))
		for _, name := range slices.Sorted(maps.Keys(a.Annotations)) {
			w.text(name)
			w.text(a.Annotations[name])
		}
	}
	w.list(p.Threshold)
	w.text(strconv.FormatBool(p.Platforms.OrEvery))
	w.list(len(p.Platforms.List))
	for _, platform := range p.Platforms.List {
		w.text(platform)
	}
	w.list(int(p.Mode))
	w.list(int(p.OnError))
	w.list(int(p.AllowTTL))
	w.list(int(p.DenyTTL))
	w.text(p.Message)
	if p.Pin || p.AlwaysPullImages || p.AllowUnchanged { // else it is that of before there were these
		w.text(strconv.FormatBool(p.Pin))
		w.text(strconv.FormatBool(p.AlwaysPullImages))
		w.text(strconv.FormatBool(p.AllowUnchanged))
	}
	return [32]byte(w.h.Sum(nil))
}

type canonical struct{ h hash.Hash }

func (c canonical) list(n int) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	c.h.Write(b[:])
}

func (c canonical) text(s string) {
	c.list(len(s))
	c.h.Write([]byte(s))
}

// trust writes the collision-free name of all trust material.
func (c canonical) trust(t *engine.Trust) {
	if t == nil {
		c.text("")
		return
	}
	c.text(t.ID)
}

// pattern writes both forms, so that a text and the regular expression of the same characters differ.
func (c canonical) pattern(p engine.Pattern) {
	c.text(p.Exact)
	if p.Regexp == nil {
		c.list(0)
		return
	}
	c.list(1)
	c.text(p.Regexp.String())
}

func (c canonical) expression(e engine.Expression) {
	if e == nil {
		c.list(0)
		return
	}
	c.list(1)
	c.text(e.String())
}

func (c canonical) globs(globs []engine.Glob) {
	c.list(len(globs))
	for _, g := range globs {
		c.text(g.String())
	}
}
