package main

import (
	"cmp"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/spf13/cobra"

	"sluice/engine"
	"sluice/resolver"
	"sluice/resolver/signature/attached"
	"sluice/resolver/signature/proof"
)

// inspectFlags are what sluice inspect looks with.
type inspectFlags struct {
	config      string
	registries  []string
	at          string
	key         string
	trustedRoot string
	writePolicy string
	timeout     time.Duration
	output      string
}

func newInspect() *cobra.Command {
	var f inspectFlags
	cmd := &cobra.Command{
		Use:   "inspect IMAGE (--config FILE | --registry HOST)",
		Short: "List all signatures and attestations of an image, without a policy",
		Long: `List all signatures and attestations that are attached to an image, in every format and place, with the identities they
name. What they say of themselves is not verified, unless --key or --trusted-root says by what: anyone who may push to the
repository can attach anything.

--write-policy writes a policy that names them, as a starting point. It accepts what was verified; of what was not, it is a
guess at whom to trust.

Exit codes: 0 looked at everything; 1 there is no such image; 3 some of it could not be looked at.`,
		Example: `  sluice inspect registry.example.com/team/app:v1 --config sluice.yaml
  sluice inspect registry.example.com/team/app:v1 --config sluice.yaml --trusted-root root.json --write-policy app.yaml`,
		Args: cobra.ExactArgs(1),
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.config, "config", "c", "", "contact the registries of this configuration")
	flags.StringArrayVar(&f.registries, "registry", nil, "a registry that may be contacted, as HOST or http://HOST; may be repeated")
	flags.StringVar(&f.at, "signature-repository", "", "look there, and not beside the image")
	flags.StringVar(&f.key, "key", "", "verify by the public keys of this PEM file")
	flags.StringVar(&f.trustedRoot, "trusted-root", "", "verify by this trusted_root.json, asking for a log's entry and a certificate log's promise")
	flags.StringVar(&f.writePolicy, "write-policy", "", "write a policy that names what was found, as a starting point, to a new file (- for standard output, in place of the list)")
	flags.DurationVar(&f.timeout, "timeout", 30*time.Second, "how long looking may take")
	check := outputFlag(cmd, &f.output)
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	_ = cmd.MarkFlagFilename("trusted-root", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := check(); err != nil {
			return err
		}
		return f.run(cmd.Context(), args[0], cmd.OutOrStdout())
	}
	return cmd
}

// inspected is what inspect prints as JSON.
type inspected struct {
	Image      string          `json:"image"`
	Digest     string          `json:"digest"`
	Signatures []inspectedItem `json:"signatures"`
	Missing    []string        `json:"missing"` // places that have nothing
	Failures   []string        `json:"failures"`
}

// inspectedItem is one thing that was found.
type inspectedItem struct {
	Found string `json:"found"`
	Form  string `json:"form"`
	saysOfItself
	Verified bool   `json:"verified"`
	Wrong    string `json:"wrong,omitempty"` // why it does not verify, or can't even be read
}

func (f *inspectFlags) run(ctx context.Context, image string, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	ref, err := engine.ParseReference(image)
	if err != nil {
		return invalid(fmt.Errorf("%q is no image reference: %w", image, err))
	}
	judge, err := f.judge()
	if err != nil {
		return invalid(err)
	}
	r, err := f.open()
	if err != nil {
		return err
	}
	defer r.Close()
	found, err := f.look(ctx, r, ref, judge)
	if err != nil {
		return err
	}
	return f.tell(found, ref, stdout)
}

// open makes the resolver of what may be contacted.
func (f *inspectFlags) open() (*resolver.Resolver, error) {
	c := new(Config)
	if f.config != "" {
		read, err := readConfig(f.config)
		if err != nil {
			return nil, invalid(err, configHints(err)...)
		}
		c = read
	}
	c.addRegistries(f.registries)
	if len(c.Registries) == 0 {
		return nil, invalid(errors.New("there is no registry that may be contacted"), "name it with --registry HOST, or a configuration with --config FILE")
	}
	r, err := resolver.New(c.resolver())
	if err != nil {
		return nil, invalid(err)
	}
	return r, nil
}

// judge is what the command line asks to verify by; nil if it does not.
func (f *inspectFlags) judge() (*proof.Judge, error) {
	var t engine.Trust
	switch {
	case f.key != "" && f.trustedRoot != "":
		return nil, errors.New("signatures are verified by --key or by --trusted-root, not by both")
	case f.key != "":
		pem, err := os.ReadFile(f.key)
		if err != nil {
			return nil, err
		}
		key, err := cryptoutils.UnmarshalPEMToPublicKey(pem)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.key, err)
		}
		t.Keys = []crypto.PublicKey{key}
	case f.trustedRoot != "":
		raw, err := os.ReadFile(f.trustedRoot)
		if err != nil {
			return nil, err
		}
		t.Roots, t.Logs, t.SCTs = []*engine.TrustRoot{{Name: f.trustedRoot, JSON: raw}}, 1, 1
	default:
		return nil, nil //nolint:nilnil // there is nothing to verify by, and that is no error
	}
	trust, err := engine.NewTrust(t)
	if err != nil {
		return nil, err
	}
	return proof.New(trust)
}

// look finds everything that is attached to the image.
func (f *inspectFlags) look(ctx context.Context, r *resolver.Resolver, ref engine.Reference, judge *proof.Judge) (*inspected, error) {
	out := &inspected{Image: ref.String(), Signatures: []inspectedItem{}, Missing: []string{}, Failures: []string{}}
	if ref.Digest == "" {
		resolution, err := r.Resolve(ctx, ref, engine.KnownFacts)
		if err != nil {
			return nil, unresolved(err)
		}
		ref.Digest = resolution.Digest
	}
	out.Digest = string(ref.Digest)
	at := ref
	if f.at != "" {
		elsewhere, err := engine.ParseReference(f.at)
		if err != nil || elsewhere.Digest != "" {
			return nil, invalid(fmt.Errorf("--signature-repository %q is no repository", f.at))
		}
		at.Registry, at.Repository = elsewhere.Registry, elsewhere.Repository
	}
	for _, place := range []attached.Place{attached.SignatureTag, attached.AttestationTag, attached.Referrers} {
		found, err := attached.Find(ctx, r, place, at)
		if err != nil {
			out.Failures = append(out.Failures, fmt.Sprintf("%s: %v", place, err))
			continue
		}
		if found.Total == 0 {
			out.Missing = append(out.Missing, cmp.Or(found.Where, place.String()))
		}
		for _, item := range found.Items {
			out.Signatures = append(out.Signatures, inspectItem(item, ref.Digest, judge))
		}
		if rest := found.Total - len(found.Items); rest > 0 {
			out.Failures = append(out.Failures, fmt.Sprintf("%s: %d more are not looked at", found.Where, rest))
		}
	}
	return out, nil
}

// unresolved is what becomes of a tag that can't be resolved.
func unresolved(err error) error {
	var f *engine.Failure
	if !errors.As(err, &f) {
		return &exitError{code: exitUndecidable, err: err}
	}
	switch f.Reason {
	case engine.ReasonImageNotFound:
		return &exitError{code: exitDenied, err: errors.New(f.Public)}
	case engine.ReasonRegistryNotListed:
		return invalid(errors.New(f.Public), "name it with --registry HOST")
	}
	return &exitError{code: exitUndecidable, err: err}
}

var formNames = map[attached.Form]string{
	attached.SimpleSigning: "classic signature",
	attached.Envelope:      "classic attestation",
	attached.Bundle:        "sigstore bundle",
}

func inspectItem(item *attached.Item, digest engine.Digest, judge *proof.Judge) inspectedItem {
	one := inspectedItem{Found: item.Found, Form: formNames[item.Form]}
	switch {
	case item.Failure != nil:
		one.Wrong = item.Failure.Error()
		return one
	case item.Fault != nil:
		one.Wrong = item.Fault.Error()
		return one
	}
	d := proof.Describe(item)
	one.saysOfItself = claimed(d)
	switch {
	case d.Err != nil:
		one.Wrong = d.Err.Error()
	case !slices.Contains(d.Digests, digest):
		one.Wrong = "it is for another image"
	}
	if judge == nil {
		return one
	}
	s, err := judge.Judge(item, digest)
	if err != nil {
		one.Wrong = err.Error()
		return one
	}
	one.Verified, one.saysOfItself, one.Wrong = true, proved(s), ""
	return one
}

// writeNew writes a file that is not there yet.
func writeNew(name, text string) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.WriteString(file, text)
	return errors.Join(err, file.Close())
}

// tell prints the list and writes the policy.
func (f *inspectFlags) tell(found *inspected, ref engine.Reference, stdout io.Writer) error {
	if f.writePolicy != "" {
		text := f.policy(found, ref)
		if f.writePolicy == "-" {
			_, err := io.WriteString(stdout, text)
			return err
		}
		if err := writeNew(f.writePolicy, text); err != nil {
			return invalid(err, "name another file, or - for standard output")
		}
	}
	if f.output == "json" {
		return json.NewEncoder(stdout).Encode(found)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n  %s\n", found.Image, found.Digest)
	for _, s := range found.Signatures {
		fmt.Fprintf(&b, "\n%s (%s)\n  %s\n", s.Found, s.Form, s.saysOfItself)
		for _, name := range slices.Sorted(maps.Keys(s.Annotations)) {
			fmt.Fprintf(&b, "  annotation %s=%s\n", strconv.Quote(name), strconv.Quote(s.Annotations[name]))
		}
		switch {
		case s.Verified:
			b.WriteString("  verified\n")
		case s.Wrong != "":
			fmt.Fprintf(&b, "  not verified: %s\n", s.Wrong)
		default:
			b.WriteString("  not verified: neither --key nor --trusted-root was given\n")
		}
	}
	b.WriteString("\n")
	for _, place := range found.Missing {
		fmt.Fprintf(&b, "nothing at %s\n", place)
	}
	for _, failure := range found.Failures {
		fmt.Fprintf(&b, "failed: %s\n", failure)
	}
	if _, err := io.WriteString(stdout, printable(b.String())); err != nil {
		return err
	}
	if len(found.Failures) > 0 {
		return &exitError{code: exitUndecidable}
	}
	return nil
}
