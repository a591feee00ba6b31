package scenario

import (
	"bytes"
	"cmp"
	"fmt"
	"path/filepath"
	"text/template"
	"time"

	"sluice/deploy/pki"
)

// settings are those of a service that a scenario may want to be its own. Zero values are replaced.
type settings struct {
	allowTTL, denyTTL time.Duration // of verdicts; default an hour, so that nothing ends during a scenario
	tagTTL            time.Duration // default an hour
	verdicts          int           // entries; default 100,000
	unverified        bool          // images pass as they are, without a look at the registry
	memoryLimit       string        // GOMEMLIMIT; default none
}

var configuration = template.Must(template.New("").Parse(`apiVersion: sluice/v1
kind: Config
listen: 127.0.0.1:0
admin: {listen: "127.0.0.1:0"}
tls: {certFile: ../server.crt, keyFile: ../server.key, clientCAFile: ../ca.crt, clientNames: [kube-apiserver]}
policies: [policies.yaml]
registries:
- {host: "{{.Host}}", caFile: registry-ca.crt}
cache: {verdicts: {{.Verdicts}}, tags: 100000, signatures: 100000, tagTTL: {{.TagTTL}}, signatureTTL: 1h}
log: {level: info, format: json}
`))

var policies = template.Must(template.New("").Parse(`apiVersion: sluice/v1
kind: ImagePolicy
metadata: {name: signed}
spec:
  images: [{glob: "{{.Host}}/**"}]
  authorities:
{{- if .Unverified}}
  - {name: anyone, static: {action: pass}}
{{- else}}
  - {name: release-key, key: {file: release.pub}}
{{- end}}
  cache: {allowTTL: {{.AllowTTL}}, denyTTL: {{.DenyTTL}}}
---
apiVersion: sluice/v1
kind: ImagePolicy
metadata: {name: no-latest}
spec:
  images: [{glob: "**"}]
  tags: {deny: [latest]}
  cache: {allowTTL: {{.AllowTTL}}, denyTTL: {{.DenyTTL}}}
`))

// write writes the service's files into dir, for a registry. Certificates are in the folder above.
func (s settings) write(dir string, registry *registryState) error {
	v := struct {
		Host                      string
		Verdicts                  int
		Unverified                bool
		TagTTL, AllowTTL, DenyTTL time.Duration
	}{
		registry.Host, cmp.Or(s.verdicts, 100_000), s.unverified,
		cmp.Or(s.tagTTL, time.Hour), cmp.Or(s.allowTTL, time.Hour), cmp.Or(s.denyTTL, time.Hour),
	}
	for name, t := range map[string]*template.Template{"sluice.yaml": configuration, "policies.yaml": policies} {
		var b bytes.Buffer
		if err := t.Execute(&b, v); err != nil {
			return err
		}
		if err := pki.WriteFile(filepath.Join(dir, name), b.Bytes(), pki.CertMode); err != nil {
			return err
		}
	}
	for name, content := range map[string][]byte{"registry-ca.crt": registry.CA, "release.pub": registry.PublicKey} {
		if err := pki.WriteFile(filepath.Join(dir, name), content, pki.CertMode); err != nil {
			return err
		}
	}
	return nil
}

// writeCertificates writes what the service and its clients know each other by.
func writeCertificates(dir string) error {
	options := pki.Options{Validity: 24 * time.Hour}
	ca, err := pki.NewCA(options)
	if err != nil {
		return err
	}
	server, err := ca.Server([]string{"127.0.0.1"}, options)
	if err != nil {
		return err
	}
	client, err := ca.Client("kube-apiserver", options)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name    string
		content []byte
	}{
		{"ca.crt", ca.Pair().Cert},
		{"server.crt", server.Cert},
		{"server.key", server.Key},
		{"client.crt", client.Cert},
		{"client.key", client.Key},
	} {
		mode := pki.CertMode
		if filepath.Ext(f.name) == ".key" {
			mode = pki.KeyMode
		}
		if err := pki.WriteFile(filepath.Join(dir, f.name), f.content, mode); err != nil {
			return fmt.Errorf("certificates: %w", err)
		}
	}
	return nil
}
