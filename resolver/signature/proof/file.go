package proof

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"

	"github.com/sigstore/sigstore-go/pkg/verify"

	"sluice/engine"
)

// File is what a bundle is over that is none of an image: a file, or what is known of it.
type File struct {
	Content []byte
	Digest  engine.Digest // in place of Content, if that is not at hand
}

// JudgeBundle tells who signed a bundle (JSON) over f: f itself, or an in-toto statement with f as a subject. Every
// error is a [*Refusal].
func (j *Judge) JudgeBundle(bundle []byte, f File) (_ engine.Signature, err error) {
	defer recovered(&err)
	if len(bundle) > maxContent {
		return engine.Signature{}, invalid("it has more than %d bytes", maxContent)
	}
	s, err := j.readBundle(bundle)
	if err != nil {
		return engine.Signature{}, invalid("%w", err)
	}
	s.most, s.cost = MaxCost, 1
	var sum []byte
	if f.Digest != "" {
		d, err := engine.ParseDigest(string(f.Digest))
		if err != nil {
			return engine.Signature{}, invalid("%w", err)
		}
		if sum, err = hex.DecodeString(d.Hex()); err != nil {
			return engine.Signature{}, invalid("%w", err)
		}
	}
	s.artifact = func() verify.ArtifactPolicyOption {
		if sum != nil {
			return verify.WithArtifactDigest("sha256", sum)
		}
		return verify.WithArtifact(bytes.NewReader(f.Content))
	}
	s.claim = func() (engine.Signature, error) { return engine.Signature{}, nil }
	if s.file {
		s.message, s.unseen = f.Content, sum
	} else {
		s.claim = func() (engine.Signature, error) { return s.fileClaim(f) }
	}
	out, refusal := j.judge(s)
	if refusal != nil {
		return engine.Signature{}, refusal
	}
	return out, nil
}

// fileClaim reads the statement of s, and tells whether it is about f.
func (s *signed) fileClaim(f File) (engine.Signature, error) {
	st, err := parseStatement(s.payload)
	if err != nil {
		return engine.Signature{}, err
	}
	for _, about := range st.subjects {
		if about.is(f) {
			return engine.Signature{Annotations: about.annotations, Statement: st.asEngine()}, nil
		}
	}
	return engine.Signature{}, errors.New("the statement is about another file")
}

// is tells whether every digest of s that is by a known algorithm is f's, and one is there.
func (s *subject) is(f File) bool {
	known := false
	is := func(digest string, sum []byte) bool {
		known = known || digest != ""
		return digest == "" || digest == hex.EncodeToString(sum)
	}
	if f.Digest != "" {
		return s.sha256 == f.Digest.Hex()
	}
	sum256, sum384, sum512 := sha256.Sum256(f.Content), sha512.Sum384(f.Content), sha512.Sum512(f.Content)
	return is(s.sha256, sum256[:]) && is(s.others["sha384"], sum384[:]) && is(s.others["sha512"], sum512[:]) && known
}
