// Command conformance speaks the command-line protocol of the sigstore-conformance suite
// (github.com/sigstore/sigstore-conformance, docs/cli_protocol.md) for the verification of bundles, so that the suite can
// be run against the very code that the service verifies with. It is not part of the service.
//
//	conformance verify-bundle [--staging] --bundle FILE
//	    (--certificate-identity IDENTITY --certificate-oidc-issuer URL | --key PATH)
//	    [--trusted-root FILE] FILE_OR_DIGEST
//
// It exits with 0 if the bundle is good, 1 if it is not, and 2 if it was called wrongly. Without --trusted-root it asks
// the public-good instance of sigstore, or its staging instance, for a root; it contacts nothing else.
package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/sigstore/sigstore-go/pkg/tuf"
	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"sluice/engine"
	"sluice/resolver/signature/proof"
	"sluice/resolver/signature/trustroot"
)

func main() { os.Exit(run(os.Args[1:], os.Stderr)) }

// arguments are what verify-bundle is called with.
type arguments struct {
	bundle, identity, issuer, key, root string
	staging                             bool
	artifact                            string
}

// run is the command, and returns what it exits with.
func run(args []string, stderr io.Writer) int {
	a, err := parse(args, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "usage:", err)
		return 2
	}
	if err := a.verify(); err != nil {
		fmt.Fprintln(stderr, "refused:", err)
		return 1
	}
	fmt.Fprintln(stderr, "verified")
	return 0
}

func parse(args []string, stderr io.Writer) (a arguments, err error) {
	if len(args) == 0 || args[0] != "verify-bundle" {
		return a, errors.New("verify-bundle is the one subcommand")
	}
	flags := flag.NewFlagSet("verify-bundle", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&a.bundle, "bundle", "", "the bundle to verify")
	flags.StringVar(&a.identity, "certificate-identity", "", "the certificate's subject alternative name")
	flags.StringVar(&a.issuer, "certificate-oidc-issuer", "", "the issuer of the token that the certificate was issued for")
	flags.StringVar(&a.key, "key", "", "a public key in PEM, in place of a certificate")
	flags.StringVar(&a.root, "trusted-root", "", "a trusted_root.json; that of the public-good instance if absent")
	flags.BoolVar(&a.staging, "staging", false, "ask the staging instance for the trusted root")
	if err := flags.Parse(args[1:]); err != nil {
		return a, err
	}
	byCertificate := a.identity != "" && a.issuer != ""
	switch {
	case a.bundle == "":
		return a, errors.New("--bundle is needed")
	case flags.NArg() != 1:
		return a, errors.New("one file or digest is needed")
	case a.key != "" && (a.identity != "" || a.issuer != ""):
		return a, errors.New("--key goes without an identity")
	case a.key == "" && !byCertificate:
		return a, errors.New("--certificate-identity and --certificate-oidc-issuer are needed, or --key")
	}
	a.artifact = flags.Arg(0)
	return a, nil
}

// verify returns why the bundle is not good.
func (a *arguments) verify() error {
	bundle, err := os.ReadFile(a.bundle)
	if err != nil {
		return err
	}
	file, err := a.file()
	if err != nil {
		return err
	}
	trust, err := a.trust(bundle)
	if err != nil {
		return err
	}
	judge, err := proof.New(trust)
	if err != nil {
		return err
	}
	s, err := judge.JudgeBundle(bundle, file)
	if err != nil {
		return err
	}
	if want := (engine.Signer{Issuer: a.issuer, Subject: a.identity}); a.key == "" && s.Signer != want {
		return fmt.Errorf("it is by %q (%s), not %q (%s)", s.Signer.Subject, s.Signer.Issuer, want.Subject, want.Issuer)
	}
	return nil
}

// file reads what the bundle should be over: a digest where that is no file.
func (a *arguments) file() (proof.File, error) {
	content, err := os.ReadFile(a.artifact)
	if d, ok := engine.ParseDigest(a.artifact); ok == nil && errors.Is(err, os.ErrNotExist) {
		return proof.File{Digest: d}, nil
	}
	return proof.File{Content: content}, err
}

// trust asks for what the suite does: one log where there are logs, one SCT, and a timestamp where there is one.
func (a *arguments) trust(bundle []byte) (*engine.Trust, error) {
	raw, err := a.trustedRoot()
	if err != nil {
		return nil, err
	}
	root, err := trustroot.Parse(raw)
	if err != nil {
		return nil, err
	}
	t := engine.Trust{Roots: []*engine.TrustRoot{{Name: "trusted root", JSON: raw}}, SCTs: 1}
	if a.key != "" {
		t.SCTs = 0
		if err := a.addKey(&t); err != nil {
			return nil, err
		}
	}
	if len(root.Material().RekorLogs()) > 0 {
		t.Logs = 1
	}
	if len(root.Material().TimestampingAuthorities()) > 0 && stamped(bundle) {
		t.Timestamps = 1
	}
	return engine.NewTrust(t)
}

// stamped tells whether a bundle has a timestamp.
func stamped(bundle []byte) bool {
	var b struct {
		VerificationMaterial struct {
			TimestampVerificationData struct {
				RFC3161Timestamps []json.RawMessage `json:"rfc3161Timestamps"`
			} `json:"timestampVerificationData"`
		} `json:"verificationMaterial"`
	}
	return json.Unmarshal(bundle, &b) == nil && len(b.VerificationMaterial.TimestampVerificationData.RFC3161Timestamps) > 0
}

func (a *arguments) addKey(t *engine.Trust) error {
	raw, err := os.ReadFile(a.key)
	if err != nil {
		return err
	}
	block, rest := pem.Decode(raw)
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return fmt.Errorf("%s is not one key in PEM", a.key)
	}
	key, err := cryptoutils.UnmarshalPEMToPublicKey(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", a.key, err)
	}
	t.Keys = append(t.Keys, key)
	return nil
}

// trustedRoot reads the trusted root, or fetches it if none is named.
func (a *arguments) trustedRoot() ([]byte, error) {
	if a.root != "" {
		return os.ReadFile(a.root)
	}
	opts := tuf.DefaultOptions().WithDisableLocalCache()
	if a.staging {
		opts = opts.WithRoot(tuf.StagingRoot()).WithRepositoryBaseURL(tuf.StagingMirror)
	}
	client, err := tuf.New(opts)
	if err != nil {
		return nil, err
	}
	return client.GetTarget("trusted_root.json")
}
