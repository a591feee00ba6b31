package scenario

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"sluice/bench"
)

// digests is a workload of images that are named by digest and that no review has held before.
type digests struct {
	host       string
	containers int // a review
	n          uint64
}

func (d *digests) Next() bench.Review {
	body := []byte(`{"kind":"ImageReview","apiVersion":"imagepolicy.k8s.io/v1alpha1","metadata":{},"spec":`)
	key := len(body)
	body = append(body, `{"containers":[`...)
	for i := range d.containers {
		if i > 0 {
			body = append(body, ',')
		}
		d.n++
		sum := sha256.Sum256(binary.LittleEndian.AppendUint64(nil, d.n))
		body = append(body, `{"image":"`...)
		body = append(body, d.host...)
		body = append(body, "/team/app@sha256:"...)
		body = hex.AppendEncode(body, sum[:])
		body = append(body, `"}`...)
	}
	body = append(body, `],"namespace":"default"}`...)
	r := bench.Review{Key: string(body[key:]), Deny: bench.ExpectAllow}
	r.Body = append(body, `,"status":{"allowed":false}}`+"\n"...)
	return r
}

func (d *digests) String() string {
	return fmt.Sprintf("%d images a review, by digest, each of them once", d.containers)
}
