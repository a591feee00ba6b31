package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice/deploy/pki"
)

func newCert() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cert",
		Short: "Issue, renew and look at the certificates of the service and of the apiserver",
		Long: `Issue, renew and look at the certificates that the service and the apiserver know each other by.

The CA itself is not renewed but replaced, without a gap:

  1. make another: sluice init, to another directory
  2. put both CA certificates, one after the other, into every ca.crt, and into the webhooks' caBundle
  3. sluice cert issue --force, by the new CA, for each certificate
  4. take the old CA certificate out`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCertIssue(), newCertRenew(), newCertInspect())
	return cmd
}

// certFlags are what issuing and renewing have in common.
type certFlags struct {
	caCert, caKey string
	validity      time.Duration
}

func (f *certFlags) add(cmd *cobra.Command, validity string) {
	flags := cmd.Flags()
	flags.StringVar(&f.caCert, "ca-cert", "", "the certificate of the CA")
	flags.StringVar(&f.caKey, "ca-key", "", "the key of the CA")
	flags.DurationVar(&f.validity, "validity", 0, validity)
	_ = cmd.MarkFlagFilename("ca-cert", "crt", "pem")
	_ = cmd.MarkFlagFilename("ca-key", "key", "pem")
}

// ca takes up the authority.
func (f *certFlags) ca(hint string) (*pki.CA, error) {
	switch {
	case f.caCert == "" || f.caKey == "":
		return nil, invalid(errors.New("--ca-cert and --ca-key are needed"), hint)
	case f.validity < 0:
		return nil, invalid(fmt.Errorf("--validity: a certificate cannot be valid for %s", f.validity))
	}
	ca, err := loadCA(f.caCert, f.caKey)
	if err != nil {
		return nil, invalid(err)
	}
	return ca, nil
}

func newCertIssue() *cobra.Command {
	var (
		f                certFlags
		hosts            []string
		client           string
		outCert, outKey  string
		force            bool
		example          = "sluice cert issue --ca-cert pki/ca.crt --ca-key pki/ca.key --host sluice.example.com --out-cert server.crt --out-key server.key"
		exampleForClient = "sluice cert issue --ca-cert pki/ca.crt --ca-key pki/ca.key --client-name kube-apiserver --out-cert client.crt --out-key client.key"
	)
	cmd := &cobra.Command{
		Use:   "issue (--host HOST | --client-name NAME) --ca-cert FILE --ca-key FILE --out-cert FILE --out-key FILE",
		Short: "Issue a certificate for a service or for a client",
		Long: `Issue a certificate with a fresh key: for a service that is reached under some names and addresses, or for a client that is
known by its common name. The key is written for its owner alone (0600). Nothing is overwritten without --force; whose file is
overwritten goes on owning it.`,
		Example: "  " + example + "\n  " + exampleForClient,
		Args:    cobra.NoArgs,
	}
	f.add(cmd, "how long it is good for; 0 is a year, and it never outlives its CA")
	flags := cmd.Flags()
	flags.StringSliceVar(&hosts, "host", nil, "a DNS name or address of the service; may be repeated")
	flags.StringVar(&client, "client-name", "", "the common name of the client")
	flags.StringVar(&outCert, "out-cert", "", "the file to write the certificate to")
	flags.StringVar(&outKey, "out-key", "", "the file to write its key to")
	flags.BoolVar(&force, "force", false, "overwrite files that exist")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if (len(hosts) == 0) == (client == "") {
			return invalid(errors.New("either --host or --client-name is needed"), example, exampleForClient)
		}
		if outCert == "" || outKey == "" || outCert == outKey {
			return invalid(errors.New("--out-cert and --out-key are needed, and are two files"), example)
		}
		ca, err := f.ca(example)
		if err != nil {
			return err
		}
		var pair pki.Pair
		if client != "" {
			pair, err = ca.Client(client, pki.Options{Validity: f.validity})
		} else {
			pair, err = ca.Server(hosts, pki.Options{Validity: f.validity})
		}
		if err != nil {
			return invalid(err)
		}
		for _, path := range []string{outCert, outKey} {
			if _, err := os.Lstat(path); err == nil && !force {
				return invalid(fmt.Errorf("%s exists already", path), "--force overwrites it")
			}
		}
		if err := pki.WritePair(outCert, outKey, pair); err != nil {
			return invalid(err)
		}
		return tellEnd(cmd.OutOrStdout(), outCert, "issued", pair, ca)
	}
	return cmd
}

func newCertRenew() *cobra.Command {
	const example = "sluice cert renew /etc/sluice/pki/server.crt --ca-cert pki/ca.crt --ca-key pki/ca.key --within 720h"
	var (
		f      certFlags
		key    string
		within time.Duration
	)
	cmd := &cobra.Command{
		Use:   "renew FILE.crt... --ca-cert FILE --ca-key FILE",
		Short: "Issue certificates anew before they end, with fresh keys, in their place",
		Long: `Issue certificates anew, with fresh keys, for the same names and usages, by the same CA, and put them and their keys in the place
of those before. The key of NAME.crt is NAME.key beside it. Owners stay, keys are of mode 0600.

The service and the apiserver take renewed ones up without a restart. For a few microseconds the new key stands beside the old
certificate; the service then keeps what it has, and looks again.

With --within, only what ends that soon is renewed, so that a timer can run this every day. It exits with 1 if one ends that soon
because its CA does.`,
		Example: "  " + example,
		Args:    cobra.MinimumNArgs(1),
	}
	f.add(cmd, "how long the new ones are good for; 0 is as long as those before, and none outlives its CA")
	cmd.Flags().StringVar(&key, "key", "", "the key's file, if it is not NAME.key beside NAME.crt (for one certificate)")
	cmd.Flags().DurationVar(&within, "within", 0, "renew only what ends within this time, such as 720h; 0 renews all")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if key != "" && len(args) > 1 {
			return invalid(errors.New("--key is for one certificate"))
		}
		if within < 0 {
			return invalid(fmt.Errorf("--within: %s is in the past", within))
		}
		ca, err := f.ca(example)
		if err != nil {
			return err
		}
		var errs, late []error
		for _, path := range args {
			// Of several certificates, one that can't be renewed keeps no other from it.
			switch err := f.renew(cmd.OutOrStdout(), ca, path, key, within); {
			case errors.Is(err, errEndsWithCA):
				late = append(late, fmt.Errorf("%s: %w", path, err))
			case err != nil:
				errs = append(errs, fmt.Errorf("%s: %w", path, err))
			}
		}
		if len(errs) > 0 {
			return invalid(errors.Join(append(errs, late...)...), "sluice cert issue makes a certificate without regard to one before")
		}
		if len(late) > 0 {
			return &exitError{exitDenied, errors.Join(late...), []string{"replace the CA: sluice cert --help says how"}}
		}
		return nil
	}
	return cmd
}

// errEndsWithCA is that of a certificate which is to be renewed and can't be: what its CA issued would end when it does.
var errEndsWithCA = errors.New("it ends when its CA does, and so would a new one")

// renew renews one certificate, if it ends within that time or if all are.
func (f *certFlags) renew(w io.Writer, ca *pki.CA, path, keyPath string, within time.Duration) error {
	chain, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	certs, err := pki.ParseCertificates(chain)
	if err != nil {
		return err
	}
	if keyPath == "" {
		keyPath = besideKey(path)
	}
	keyPEM, err := os.ReadFile(keyPath)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("its key is not at %s: say with --key where it is", keyPath)
	} else if err != nil {
		return err
	}
	// A key of another certificate is not ours to overwrite.
	if ok, err := pki.IsKeyOf(certs[0], keyPEM); err != nil {
		return fmt.Errorf("%s: %w", keyPath, err)
	} else if !ok {
		return fmt.Errorf("%s is not its key", keyPath)
	}
	if end := certs[0].NotAfter; within > 0 && time.Until(end) > within {
		_, err := fmt.Fprintf(w, "%s: not renewed, for it ends on %s, %s\n", path, date(end), daysLeft(end))
		return err
	}
	if within > 0 && !certs[0].NotAfter.Before(ca.NotAfter()) {
		return fmt.Errorf("%w, on %s", errEndsWithCA, date(ca.NotAfter()))
	}
	pair, err := ca.Renew(chain, pki.Options{Validity: f.validity})
	if err != nil {
		return err
	}
	if err := pki.WritePair(path, keyPath, pair); err != nil {
		return err
	}
	return tellEnd(w, path, "renewed", pair, ca)
}

// besideKey is where the key of a certificate is, unless something else is said.
func besideKey(cert string) string { return strings.TrimSuffix(cert, filepath.Ext(cert)) + ".key" }

// tellEnd says until when a new certificate is good.
func tellEnd(w io.Writer, path, what string, pair pki.Pair, ca *pki.CA) error {
	certs, err := pki.ParseCertificates(pair.Cert)
	if err != nil {
		return err
	}
	end, because := certs[0].NotAfter, ""
	if end.Equal(ca.NotAfter()) {
		because = ", as its CA does"
	}
	_, err = fmt.Fprintf(w, "%s: %s, ends on %s%s, %s\n", path, what, date(end), because, daysLeft(end))
	return err
}

func date(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// daysLeft says how far away a moment is, in whole days or hours, for people.
func daysLeft(end time.Time) string {
	left := time.Until(end)
	n, unit := int(left.Abs()/(24*time.Hour)), "days"
	if n < 2 {
		n, unit = int(left.Abs()/time.Hour), "hours"
	}
	if left <= 0 {
		return fmt.Sprintf("%d %s ago", n, unit)
	}
	return fmt.Sprintf("in %d %s", n, unit)
}
