package proof

import (
	"encoding/base64"
	"errors"
	"fmt"
)

// envelope is a DSSE envelope: a payload, and signatures over it and its type.
type envelope struct {
	payloadType string
	payload     []byte
	signatures  [][]byte // the hints as to whose they are prove nothing, and are not kept
}

// parseEnvelope reads an envelope in JSON (Dead Simple Signing Envelope, "envelope.md").
func parseEnvelope(raw []byte) (*envelope, error) {
	if err := checkJSON(raw, maxDepth, maxElements); err != nil {
		return nil, err
	}
	e := &envelope{}
	w := walker{raw}
	err := w.object(func(name string) (err error) {
		switch name {
		case "payloadType":
			e.payloadType, err = w.text()
		case "payload":
			e.payload, err = w.eitherBase64()
		case "signatures":
			err = w.array(func(i int) error {
				if i == maxSignatures {
					return fmt.Errorf("more than %d signatures", maxSignatures)
				}
				var signature []byte
				err := w.object(func(name string) (err error) {
					if name == "sig" {
						signature, err = w.eitherBase64()
						return err
					}
					w.value()
					return nil
				})
				e.signatures = append(e.signatures, signature)
				return err
			})
		default:
			w.value()
		}
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case len(e.payload) == 0:
		return nil, errors.New("it has no payload")
	case len(e.signatures) == 0:
		return nil, errors.New("it has no signatures")
	}
	return e, nil
}

// eitherBase64 reads a string of bytes, in either of the alphabets that DSSE allows.
func (w *walker) eitherBase64() ([]byte, error) {
	s, err := w.text()
	if err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		b, err = base64.URLEncoding.DecodeString(s)
	}
	return b, err
}
