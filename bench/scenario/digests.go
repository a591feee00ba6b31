package scenario

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"

	"sluice/bench"
)

// digests is a workload of images that are named by digest: each of them once; or, if again is set, so many that were
// there already, all alike.
type digests struct {
	host        string
	containers  int // a review
	again, seed uint64
	n           uint64
	rand        *rand.Rand
}

func (d *digests) Next() bench.Review {
	body := []byte(`{"kind":"ImageReview","apiVersion":"imagepolicy.k8s.io/v1alpha1","metadata":{},"spec":`)
	key := len(body)
	body = append(body, `{"containers":[`...)
	for i := range d.containers {
		if i > 0 {
			body = append(body, ',')
		}
		sum := sha256.Sum256(binary.LittleEndian.AppendUint64(nil, d.number()))
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

func (d *digests) number() uint64 {
	if d.again == 0 {
		d.n++
		return d.n
	}
	if d.rand == nil {
		d.rand = rand.New(rand.NewPCG(d.seed, 0))
	}
	return 1 + d.rand.Uint64N(d.again)
}

func (d *digests) String() string {
	if d.again > 0 {
		return fmt.Sprintf("%d of %d images a review, by digest, all alike", d.containers, d.again)
	}
	return fmt.Sprintf("%d images a review, by digest, each of them once", d.containers)
}
