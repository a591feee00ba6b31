package engine

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Refusal is why valid signatures, or attestations, are not what an authority asks for.
type Refusal struct {
	Reason Reason
	What   string // completes "image x …" and names what the policy requires
	Remedy string
}

// Weigh tells whether have, which are valid by a.Trust, are what a asks for beside it: nil if they are. ref is the
// image's, and now the time by which ages are told.
func (a *Authority) Weigh(ref Reference, have []Signature, now time.Time) *Refusal {
	for _, s := range have {
		if carries(s.Annotations, a.Annotations) {
			return nil
		}
	}
	wanted := make([]string, 0, len(a.Annotations))
	for _, k := range slices.Sorted(maps.Keys(a.Annotations)) {
		wanted = append(wanted, k+"="+a.Annotations[k])
	}
	return &Refusal{
		Reason: ReasonAnnotationsMismatch,
		What:   "is signed by " + quote(a.Name) + ", but not with the annotations " + strings.Join(wanted, ", "),
		Remedy: "have it signed with them",
	}
}

func carries(have, want map[string]string) bool {
	for k, v := range want {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	return true
}
