// Package deploy renders everything an operator installs: the service's configuration and first policies, the
// certificates that the apiserver and the service know each other by, the apiserver's side of the connection, the
// manifests that a control plane or a machine runs the service by, and instructions for putting them in place and taking
// them away again.
//
// It decides defaults and refuses what the apiserver would refuse only at its next start. It trusts the caller's
// choice of names and paths no further than to quote them. It contacts nothing, and never overwrites unless told to.
package deploy

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"embed"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"text/template"
	"time"

	"sluice/deploy/pki"
)

//go:embed templates
var embedded embed.FS

const (
	instructions = "instructions.txt"

	scriptMode fs.FileMode = 0o755
)

// File is one file of a [Bundle].
type File struct {
	Path string // relative, with slashes
	Mode fs.FileMode
	Data []byte
}

// Bundle is what [Render] made: files, keys included, and instructions that go with them.
type Bundle struct {
	Files []File

	templates *template.Template
	data      view
}

// view is what the templates see.
type view struct {
	settings
	KeyPEM   string    // the example policy's public key, whose private half nobody has
	LeafEnd  time.Time // when the server and client certificates end
	CAEnd    time.Time
	OwnCA    bool     // the CA was made here, so its key is in the bundle
	CABundle string   // the CA's certificate, in base64
	Warnings []string // what is allowed and probably not meant
	StandIn  bool     // the image is nobody's
	Dir      string   // where the bundle is, for the instructions only
}

// Render makes the bundle: certificates with fresh keys, and the files that refer to them. Nothing is written. What is
// wrong with the options is an [*OptionError].
func Render(o Options) (*Bundle, error) {
	s, err := o.settle()
	if err != nil {
		return nil, err
	}
	v := view{settings: s, Warnings: s.warnings(), StandIn: s.Image == DefaultImage}
	ca := o.CA
	if ca == nil {
		v.OwnCA = true
		if ca, err = pki.NewCA(pki.Options{}); err != nil {
			return nil, err
		}
	}
	server, err := ca.Server(s.Hosts, pki.Options{})
	if err != nil {
		return nil, err
	}
	client, err := ca.Client(s.ClientName, pki.Options{})
	if err != nil {
		return nil, err
	}
	v.CAEnd = ca.NotAfter()
	v.CABundle = base64.StdEncoding.EncodeToString(ca.Pair().Cert)
	if v.LeafEnd, err = notAfter(client.Cert); err != nil {
		return nil, err
	}
	if v.KeyPEM, err = nobodysKey(); err != nil {
		return nil, err
	}
	b := &Bundle{data: v}
	if err := b.render(); err != nil {
		return nil, err
	}
	b.Files = append(
		b.Files,
		File{"pki/ca.crt", pki.CertMode, ca.Pair().Cert},
		File{"pki/server.crt", pki.CertMode, server.Cert},
		File{"pki/server.key", pki.KeyMode, server.Key},
		File{"pki/client.crt", pki.CertMode, client.Cert},
		File{"pki/client.key", pki.KeyMode, client.Key},
	)
	if v.OwnCA {
		b.Files = append(b.Files, File{"pki/ca.key", pki.KeyMode, ca.Pair().Key})
	}
	return b, nil
}

// render executes every template: each becomes the file of its own path, the instructions excepted.
func (b *Bundle) render() error {
	root, err := fs.Sub(embedded, "templates")
	if err != nil {
		return err
	}
	b.templates = template.New("").Option("missingkey=error").Funcs(template.FuncMap{
		"yaml":   quoteYAML,
		"json":   quoteJSON,
		"shell":  quoteShell,
		"indent": indent,
		"list":   list,
		"date":   func(t time.Time) string { return t.UTC().Format(time.DateOnly) },
	})
	return fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		t, err := b.templates.New(name).Parse(string(text))
		if err != nil {
			return err
		}
		var out bytes.Buffer
		if err := t.Execute(&out, b.data); err != nil {
			return err
		}
		if name != instructions {
			mode := pki.CertMode
			if path.Ext(name) == ".sh" {
				mode = scriptMode
			}
			b.Files = append(b.Files, File{name, mode, out.Bytes()})
		}
		return nil
	})
}

// WriteInstructions writes, for people, what to do with the bundle that stands in dir: which files go where, the
// apiserver's flags and mounts, and the way back.
func (b *Bundle) WriteInstructions(w io.Writer, dir string) error {
	v := b.data
	switch v.Dir = strings.TrimSuffix(dir, "/"); {
	case dir == "":
		v.Dir = "."
	case strings.HasPrefix(dir, "-"): // not to be taken for an option
		v.Dir = "./" + v.Dir
	}
	return b.templates.ExecuteTemplate(w, instructions, v)
}

// nobodysKey is a public key that parses, for an example that is to be edited, and whose private half is forgotten
// here, so that the unedited example trusts nobody.
func nobodysKey() (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", fmt.Errorf("make the example's key: %w", err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return "", fmt.Errorf("encode the example's key: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}

func notAfter(certPEM []byte) (time.Time, error) {
	block, _ := pem.Decode(certPEM)
	if block == nil {
		return time.Time{}, errors.New("a certificate just made is not PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{}, fmt.Errorf("parse a certificate just made: %w", err)
	}
	return cert.NotAfter, nil
}
