package e2e

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// What ties the services of a keyless stack together, written by cosign: trusted roots for those who verify, and
// signing configs for those who sign. Beside the roots of the stack there are some that have one thing from elsewhere.

// since is when all of it began, for cosign.
func since() string { return time.Now().Add(-time.Hour).UTC().Format(time.RFC3339) }

func (k *keyless) writeRoots() error {
	if err := k.writeMaterial(); err != nil {
		return err
	}
	since := since()
	// The names of the material of each service, in the directory; those without are left out.
	root := func(ca, ct, log1, log2, stamps string) []string {
		var services []string
		add := func(flag, url, material, name string) {
			if name == "" {
				return
			}
			service := "--" + flag + "=url=" + url + "," + material + "=" + k.file(name)
			if material == "public-key" {
				service += ".pub,start-time=" + since
			} else {
				service += ".pem"
			}
			services = append(services, service)
		}
		add("fulcio", k.urls.fulcio, "certificate-chain", ca)
		add("ctfe", k.ct.server.URL, "public-key", ct)
		add("rekor", k.rekor1.server.URL, "public-key", log1)
		add("rekor", k.urls.rekor2, "public-key", log2)
		add("tsa", k.urls.tsa, "certificate-chain", stamps)
		return services
	}
	for name, services := range map[string][]string{
		"all":            root("fulcio", "ct", "rekor1", "rekor2", "tsa"),
		"no-logs":        root("fulcio", "ct", "", "", "tsa"),
		"logs":           root("", "", "rekor1", "rekor2", ""),
		"logs-tsa":       root("", "", "rekor1", "rekor2", "tsa"),
		"tsa":            root("", "", "", "", "tsa"),
		"other-ca":       root("other", "ct", "rekor1", "rekor2", "tsa"),
		"other-ct":       root("fulcio", "other", "rekor1", "rekor2", "tsa"),
		"other-logs":     root("fulcio", "ct", "other", "other", "tsa"),
		"other-tsa":      root("fulcio", "ct", "rekor1", "rekor2", "other-tsa"),
		"only-other-tsa": root("", "", "", "", "other-tsa"),
	} {
		if err := k.create("trusted-root", "root-"+name, services...); err != nil {
			return err
		}
	}
	service := func(kind, url string, version int) string {
		return fmt.Sprintf("--%s=url=%s,api-version=%d,start-time=%s,operator=e2e", kind, url, version, since)
	}
	certificates := []string{service("fulcio", k.urls.fulcio, 1), service("oidc-provider", k.issuer.url(people), 1)}
	log := []string{service("rekor", k.urls.rekor2, 2), "--rekor-config=ANY"}
	stamps := []string{service("tsa", k.urls.tsa, 1), "--tsa-config=ANY"}
	for name, services := range map[string][]string{
		"key": nil, "tsa": stamps, "log": slices.Concat(log, stamps),
		"keyless": slices.Concat(certificates, log, stamps), "keyless-tsa": slices.Concat(certificates, stamps),
	} {
		if err := k.create("signing-config", "signing-"+name, services...); err != nil {
			return err
		}
	}
	return nil
}

// writeMaterial writes the keys and certificates that were not written with their services, and strangers' of the same
// names.
func (k *keyless) writeMaterial() error {
	ca, err := issueCA("fulcio", x509.ExtKeyUsageCodeSigning)
	if err != nil {
		return err
	}
	tsaCA, err := issueCA("timestamp authority", x509.ExtKeyUsageTimeStamping)
	if err != nil {
		return err
	}
	tsa, err := issueTSA(tsaCA)
	if err != nil {
		return err
	}
	return errors.Join(
		writePublic(k.file("ct.pub"), k.ct.key.Public()), writePublic(k.file("rekor1.pub"), k.rekor1.key.Public()),
		ca.write(k.dir, "other"), writePublic(k.file("other.pub"), ca.key.Public()), tsa.write(k.dir, "other-tsa"),
	)
}

// root is the file of a trusted root.
func (k *keyless) root(name string) string { return k.file("root-" + name + ".json") }

// signing is the file of a signing config.
func (k *keyless) signing(name string) string { return k.file("signing-" + name + ".json") }

// create has cosign write what ties the services together.
func (k *keyless) create(what, name string, services ...string) error {
	argv := append([]string{programs.cosign3, what, "create", "--out", k.file(name + ".json")}, services...)
	p, err := startProcess(k.dir, nil, argv...)
	if err != nil {
		return err
	}
	defer p.kill()
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		return fmt.Errorf("%q does not end", argv)
	}
	if !p.cmd.ProcessState.Success() {
		return fmt.Errorf("%q: %s\n%s", argv, p.cmd.ProcessState, tail(p.stderr.String()))
	}
	return nil
}
