package proof_test

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"sluice/resolver/signature/attached"
	"sluice/resolver/signature/proof"
)

// mutants is how many are judged of each kind. There are some 58,000 in all; FuzzMutants tries the rest.
const mutants = 1000

// TestMutants changes every part of every kind of signature and attestation. None of the mutants may be accepted, but
// those that say what the original says since what was changed means nothing: see [allowed]. Which ones are judged is the
// same in every run.
func TestMutants(t *testing.T) {
	kinds := map[string][]*specimen{}
	for _, s := range specimens(t) {
		kinds[s.kind] = append(kinds[s.kind], s)
	}
	var panics atomic.Int64
	t.Cleanup(func() { t.Logf("%d mutants made a parser panic, and were refused", panics.Load()) })
	for kind, all := range kinds {
		each := (mutants + len(all) - 1) / len(all)
		for _, s := range all {
			t.Run(strings.ReplaceAll(s.name, " ", "_"), func(t *testing.T) {
				t.Parallel()
				chosen := s.choose(each)
				if len(chosen) < each && len(all) > 1 {
					t.Errorf("there are %d mutants, not %d", len(chosen), each)
				}
				for i, c := range chosen {
					if i%8 == 0 {
						proof.Describe(c.item) // which never panics either
					}
					verdict := s.verdict(c.item)
					switch {
					case verdict == refusedByPanic:
						panics.Add(1)
					case verdict == accepted && allowed(s, c.change) == "":
						t.Errorf("%s | %s: accepted, and what was changed means something", c.where, c.how)
					case verdict != accepted && verdict != refused:
						t.Errorf("%s | %s: %s", c.where, c.how, verdict)
					}
				}
				t.Logf("%s: %d mutants", kind, len(chosen))
			})
		}
	}
}

// mutant is a changed item, and how it came about.
type mutant struct {
	change
	item *attached.Item
}

// choose returns n mutants of s, or all if there are fewer: changes of certificates and timestamps byte by byte, of which
// there are most, only if there are too few others.
func (s *specimen) choose(n int) (chosen []mutant) {
	all := changes(s.item, s.twin)
	seed := fnv.New64a()
	seed.Write([]byte(s.name))
	random := rand.New(rand.NewPCG(seed.Sum64(), 3))
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, der := range []bool{false, true} {
		for _, c := range all {
			if len(chosen) == n {
				return chosen
			}
			if strings.Contains(c.where, "(der)") != der {
				continue
			}
			if item := c.apply(s.item); !same(item, s.item) {
				chosen = append(chosen, mutant{c, item})
			}
		}
	}
	return chosen
}

// What becomes of a mutant. Any other verdict is a mistake.
const (
	accepted       = "accepted, and says what the original says"
	refused        = "refused"
	refusedByPanic = "refused, since a parser panicked"
)

func (s *specimen) verdict(item *attached.Item) string {
	got, err := s.judge.Judge(item, mutantDigest)
	var refusal *proof.Refusal
	switch {
	case err == nil && equal(got, s.says):
		return accepted
	case err == nil:
		return fmt.Sprintf("accepted, and says %+v in place of %+v", got, s.says)
	case !errors.As(err, &refusal):
		return fmt.Sprintf("an error of type %T: %v", err, err)
	case refusal.Panicked:
		return refusedByPanic
	}
	return refused
}

// harmless is a change after which an item may be accepted. Its digest, signer, time, annotations and statement are the
// same then all the same.
type harmless struct {
	of     *regexp.Regexp // the name of the specimen
	change *regexp.Regexp // where and how, with " | " between
	why    string
}

func rule(of, change, why string) harmless {
	return harmless{regexp.MustCompile(of), regexp.MustCompile(change), why}
}

// The changes that may be made freely.
var harmlessChanges = []harmless{
	// Ways to write the same.
	rule(`.`, ` \| (indented|blanks around)$`, "blanks between values mean nothing in JSON"),
	rule(`.`, ` \| name escaped$`, "JSON's two ways to write one name"),
	rule(`.`, ` \| base64 `, "the same bytes in another alphabet of base64, or with what decoders skip"),
	rule(`classic`, `logID \| hex in capitals$`, "the same bytes"),
	rule(`bundle`, ` \| (name in snake case|as a string|with an exponent)$`, "protobuf's two ways to write names and numbers in JSON"),
	rule(`classic`, `^certificate \| (text before|lines' ends after|lines' ends as of Windows|a header)$`, "what PEM lets stand around the bytes"),

	// What the trust has no use for, and nobody reads.
	rule(`bundle|attestation`, `^signature \| `, "it is in the content"),
	rule(`bundle|classic key`, `^(certificate|chain) \| `, "it is in the content, or keys are what is trusted"),
	rule(`bundle|classic key (signature|attestation)$|timestamp alone`, `^log entry \| `, "no log is asked for, or it is in the content"),
	rule(`bundle|classic key (signature|attestation)$`, `^timestamp \| `, "no time is asked for, or it is in the content"),
	rule(`log and timestamp`, `^timestamp`, "no timestamp is asked for, and the log tells the same time"),
	rule(`classic`, `^timestamp \| (a zero more|enlarge|twice)$`, "no timestamp is asked for"),
	rule(`classic keyless`, `^chain`, "the root names its intermediates"),
	rule(`bundle 0.1`, `x509CertificateChain\.certificates( \| enlarge|\[0\] \| (twice|another after)|\[1\])`, "the root names its intermediates"),
	rule(`own PKI`, `x509CertificateChain\.certificates\[[01]\] \| twice$`, "certificates that the way to the root does not take"),
	rule(`bundle 0.3, key`, `publicKey(\.hint| \| is \{\}$)`, "a hint as to which key it was, which proves nothing"),

	// Envelopes: what DSSE asks to skip.
	rule(`classic.*attestation`, `signatures\[0\]\.keyid`, "a hint as to which key it was, which proves nothing"),
	rule(`classic.*attestation`, `^content(\.signatures\[0\])? \| a member more$`, "unknown members"),
	rule(`classic.*attestation`, `^content\.[a-zA-Z0-9.\[\]]+ \| other case (before|after)$`, "unknown members: names are exact"),
	rule(`classic key attestation`, `^content\.signatures\[0\] \| (twice|another before|another after)$`, "an envelope may carry signatures by others"),

	// Log entries.
	rule(`bundle`, `kindVersion`, "the entry's body says it again"),
	rule(`bundle 0.1, keyless attestation`, `inclusionProof \| (delete|is null)$`, "bundles 0.1 need the log's promise alone"),
	rule(`bundle`, `checkpoint\.envelope line 4 \| (twice|a blank after)$`, "a second signature of a note, or none"),
	rule(`bundle`, `checkpoint\.envelope \| flip byte 10[0-9]$`, "the name beside Rekor v1's signature: what counts is its key"),
	rule(`Rekor v2`, `canonicalizedBody`, "the entry that must be in the log is made anew of the rest of the bundle"),
	rule(`Rekor v2`, `inclusionProof\.(rootHash|treeSize|logIndex)`, "the signed checkpoint says the first two, the entry itself the third"),

	// Timestamps: what an authority's signature does not cover. Its time and what it is over are never among it.
	rule(`.`, `rfc3161Timestamps\[0\] \| (twice|another before|another after)$`, "a second timestamp where one suffices"),
	rule(`.`, `\(der\)[/0-9]* \| twice$`, "elements after the last that is read"),
	rule(`.`, `imestamp\(base64\)\(der\)/1/1/0/(0|4/0/0) \| `, "version numbers of CMS"),
	rule(`.`, `imestamp\(base64\)\(der\)/1/1/0/1(/0)*  ?\| `, "the list of hash functions, a hint of CMS"),
	rule(`.`, `imestamp\(base64\)\(der\)/1/1/0/2/0 \| `, "the name of the content's type"),
	rule(`.`, `imestamp\(base64\)\(der\)/1/1/0/(2/1(/0)?|4/0/3/3) \| (length too long|another tag|another class)$`, "the same content in another encoding of ASN.1"),
	rule(`.`, `imestamp\(base64\)\(der\)/1/1/0/3(/0)? \| (delete|empty)$`, "the authority's certificate, which the root names"),
}

// allowed returns why c may be accepted; nothing if it may not.
func allowed(s *specimen, c change) string {
	for _, h := range harmlessChanges {
		if h.of.MatchString(s.name) && h.change.MatchString(c.where+" | "+c.how) {
			return h.why
		}
	}
	return ""
}
