package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"sluice/engine"
)

// policy writes the policy that would accept what was found. What is not verified is in it only if nothing was asked to
// be, and then it says so.
func (f *inspectFlags) policy(found *inspected, ref engine.Reference) string {
	verify := f.key != "" || f.trustedRoot != ""
	var signed, stated []inspectedItem
	for _, s := range found.Signatures {
		switch {
		case verify != s.Verified, s.Wrong != "":
		case s.Kind == "attestation":
			stated = append(stated, s)
		default:
			signed = append(signed, s)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# What was found on %s (%s).\n", ref.Name(), found.Digest)
	if !verify {
		b.WriteString("# Nothing of it has been verified: check that these are whom you trust before you use it.\n")
	}
	fmt.Fprintf(&b, `apiVersion: sluice/v1
kind: ImagePolicy
metadata: {name: %s}
spec:
  images:
  - glob: %s
`, policyName(ref), quoteYAML(ref.Name()))
	if len(signed)+len(stated) == 0 {
		b.WriteString("  # There is nothing that could be accepted.\n  authorities:\n  - name: nobody\n    static: {action: fail}\n")
		return b.String()
	}
	b.WriteString("  authorities:\n")
	f.writeAuthority(&b, "signed", signed, nil)
	f.writeAuthority(&b, "attested", stated, attestationTypes(stated))
	return b.String()
}

// writeAuthority writes the authority that accepts items. They are accepted for any of their signers, so that it
// suffices to delete the lines of those who are not trusted.
func (f *inspectFlags) writeAuthority(b *strings.Builder, name string, items []inspectedItem, predicateTypes []string) {
	if len(items) == 0 {
		return
	}
	type identity struct{ issuer, subject string }
	identities := map[identity]bool{}
	keys := false
	for _, s := range items {
		if s.Subject == "" {
			keys = true
			continue
		}
		identities[identity{s.Issuer, s.Subject}] = true
	}
	end := func() {
		for i, t := range predicateTypes {
			if i == 0 {
				b.WriteString("    attestations:\n")
			}
			fmt.Fprintf(b, "    - {predicateType: %s}\n", quoteYAML(t))
		}
	}
	if keys {
		fmt.Fprintf(b, "  - name: %s-by-key\n", name)
		if f.key != "" {
			fmt.Fprintf(b, "    key: {file: %s}\n", quoteYAML(f.fromPolicy(f.key)))
		} else {
			b.WriteString("    key: {file: signer.pub} # the public key, which a signature does not carry\n")
		}
		end()
	}
	if len(identities) == 0 {
		return
	}
	fmt.Fprintf(b, "  - name: %s-keyless\n    keyless:\n      identities:\n", name)
	for _, id := range slices.SortedFunc(maps.Keys(identities), func(x, y identity) int {
		return strings.Compare(x.issuer+"\n"+x.subject, y.issuer+"\n"+y.subject)
	}) {
		fmt.Fprintf(b, "      - {issuer: %s, subject: %s}\n", quoteYAML(id.issuer), quoteYAML(id.subject))
	}
	if f.trustedRoot != "" {
		fmt.Fprintf(b, "      trustedRoot: %s\n", quoteYAML(f.fromPolicy(f.trustedRoot)))
	} else {
		b.WriteString("      trustedRoot: {tuf: {}} # a guess, sigstore's public-good instance: put your trusted_root.json here if it is another\n")
	}
	end()
}

// fromPolicy is the name of a file as the policy has it: relative to where the policy is written.
func (f *inspectFlags) fromPolicy(name string) string {
	if f.writePolicy == "-" || filepath.IsAbs(name) {
		return name
	}
	relative, err := filepath.Rel(filepath.Dir(f.writePolicy), name)
	if err != nil {
		return name
	}
	return relative
}

func attestationTypes(items []inspectedItem) []string {
	types := map[string]bool{}
	for _, s := range items {
		types[s.PredicateType] = true
	}
	return slices.Sorted(maps.Keys(types))
}

// policyName makes a policy's name of an image's.
func policyName(ref engine.Reference) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, ref.Repository)
	return strings.Trim(name[max(0, len(name)-63):], "-")
}

// quoteYAML writes a text as a double-quoted scalar: a JSON string is one.
func quoteYAML(s string) string { return strconv.Quote(strings.ToValidUTF8(s, "�")) }
