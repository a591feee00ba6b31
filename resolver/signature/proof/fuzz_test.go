package proof_test

import (
	"testing"

	"sluice/resolver/signature/attached"
	"sluice/resolver/signature/proof"
)

// FuzzMutants makes up to three changes of a valid item, of those that TestMutants chooses from. What one change leaves
// acceptable must be among those that are allowed; after several, an item that is accepted must still say what the
// original says.
func FuzzMutants(f *testing.F) {
	all := makeSpecimens(f)
	first := make([][]change, len(all))
	for i, s := range all {
		first[i] = changes(s.item, s.twin)
	}
	for i := range all {
		f.Add(uint8(i), uint32(i*101), uint32(0), uint32(0))
		f.Add(uint8(i), uint32(i*211), uint32(i*307), uint32(i*401))
	}
	f.Fuzz(func(t *testing.T, which uint8, a, b, c uint32) {
		i := int(which) % len(all)
		s := all[i]
		chosen := first[i][int(a)%len(first[i])]
		item, where := chosen.apply(s.item), chosen.where+" | "+chosen.how
		single := b == 0 && c == 0
		for _, n := range []uint32{b, c} {
			if n == 0 || len(item.Content) > 1<<16 {
				continue
			}
			next := changes(item, s.twin)
			chosen := next[int(n)%len(next)]
			item, where = chosen.apply(item), where+", then "+chosen.where+" | "+chosen.how
		}
		proof.Describe(item)
		switch verdict := s.verdict(item); {
		case verdict == refused || verdict == refusedByPanic:
		case verdict != accepted:
			t.Errorf("%s: %s: %s", s.name, where, verdict)
		case single && allowed(s, chosen) == "" && !same(item, s.item):
			t.Errorf("%s: %s: accepted, and what was changed means something", s.name, where)
		}
	})
}

// FuzzJudge judges items of any bytes by every trust. They are refused, or they are the specimens and say what those say.
func FuzzJudge(f *testing.F) {
	all := makeSpecimens(f)
	for _, s := range all {
		i := s.item
		f.Add(uint8(i.Form), i.Content, i.Signature, i.Certificate, i.Chain, i.LogEntry, i.Timestamp)
	}
	f.Fuzz(func(t *testing.T, form uint8, content, signature, certificate, chain, logEntry, timestamp []byte) {
		item := &attached.Item{
			Form: attached.Form(form), Content: content, Signature: signature,
			Certificate: certificate, Chain: chain, LogEntry: logEntry, Timestamp: timestamp,
		}
		proof.Describe(item)
		for _, s := range all {
			got, err := s.judge.Judge(item, mutantDigest)
			if err == nil && !saysOneOf(all, got) {
				t.Errorf("%s: accepted, and says %+v", s.name, got)
			}
		}
	})
}
