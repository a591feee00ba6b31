package proof

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"sluice/engine"
)

// statementType is what an envelope says of its payload if that is an in-toto statement (in-toto attestation framework,
// "Envelope").
const statementType = "application/vnd.in-toto+json"

// signatureType is the predicate type by which cosign v3 says that a statement is a signature, and nothing more.
const signatureType = "https://sigstore.dev/cosign/sign/v1"

// The values of _type: the in-toto attestation framework's specifications v0.1 and v1.
const (
	statementV01 = "https://in-toto.io/Statement/v0.1"
	statementV1  = "https://in-toto.io/Statement/v1"
)

// statement is what an in-toto statement says.
type statement struct {
	kind          string
	predicateType string
	predicate     []byte // within the payload; nil if there is none
	subjects      []subject
}

type subject struct {
	sha256      string
	others      map[string]string // digests by other algorithms
	annotations map[string]string
}

// about returns the first subject with this digest.
func (s *statement) about(digest engine.Digest) (*subject, error) {
	for i := range s.subjects {
		if s.subjects[i].sha256 == digest.Hex() {
			return &s.subjects[i], nil
		}
	}
	switch n := len(s.subjects); n {
	case 0:
		return nil, errors.New("the statement has no subject")
	case 1:
		return nil, fmt.Errorf("the statement is about sha256:%.64s", s.subjects[0].sha256)
	default:
		return nil, fmt.Errorf("the statement is about sha256:%.64s and %d more", s.subjects[0].sha256, n-1)
	}
}

// parseStatement reads an in-toto statement. Members that the specification does not know are skipped, as it asks;
// those that differ from a known one by case alone are refused, since other readers take them for it. The predicate is
// not looked into.
func parseStatement(raw []byte) (*statement, error) {
	if err := checkJSON(raw, maxStatementDepth, 0); err != nil {
		return nil, fmt.Errorf("the payload is no in-toto statement: %w", err)
	}
	p := statementParser{walker: walker{raw}}
	if err := p.object(p.top); err != nil {
		return nil, fmt.Errorf("the payload is no in-toto statement: %w", err)
	}
	switch s := &p.statement; {
	case s.kind != statementV01 && s.kind != statementV1:
		return nil, fmt.Errorf("the statement is of the unknown _type %.64q", s.kind)
	case s.predicateType == "":
		return nil, errors.New("the statement has no predicateType")
	}
	return &p.statement, nil
}

type statementParser struct {
	walker
	statement statement
}

func (p *statementParser) top(name string) (err error) {
	switch name {
	case "_type":
		p.statement.kind, err = p.text()
	case "predicateType":
		p.statement.predicateType, err = p.text()
	case "predicate":
		if !p.null() {
			p.statement.predicate = p.value()
		}
	case "subject":
		err = p.array(func(i int) error {
			if i == maxSubjects {
				return fmt.Errorf("more than %d subjects", maxSubjects)
			}
			s, err := p.subject()
			p.statement.subjects = append(p.statement.subjects, s)
			return err
		})
	default:
		err = p.skip(name, "_type", "predicateType", "predicate", "subject")
	}
	return err
}

func (p *statementParser) subject() (s subject, err error) {
	err = p.object(func(name string) (err error) {
		switch name {
		case "digest":
			n := 0
			err = p.object(func(algorithm string) error {
				if n++; n > maxDigests {
					return fmt.Errorf("more than %d digests of a subject", maxDigests)
				}
				digest, err := p.text()
				switch {
				case algorithm == "sha256":
					s.sha256 = digest
				case s.others == nil:
					s.others = map[string]string{algorithm: digest}
				default:
					s.others[algorithm] = digest
				}
				return err
			})
		case "annotations":
			if !p.null() {
				s.annotations, err = p.walker.annotations()
			}
		default:
			err = p.skip(name, "digest", "annotations")
		}
		return err
	})
	return s, err
}

// skip goes past the value of a member that is none of known.
func (p *statementParser) skip(name string, known ...string) error {
	for _, k := range known {
		if strings.EqualFold(name, k) {
			return fmt.Errorf("a member %.64q in place of %q", name, k)
		}
	}
	p.value()
	return nil
}

// asEngine returns what an attestation states, with bytes of its own; nil for a signature.
func (s *statement) asEngine() *engine.Statement {
	if s.predicateType == signatureType {
		return nil
	}
	return &engine.Statement{PredicateType: s.predicateType, Predicate: bytes.Clone(s.predicate)}
}
