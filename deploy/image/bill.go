package main

import (
	"fmt"
	"net/url"
	"runtime/debug"
	"strings"
	"time"
)

// bill is a bill of materials as SPDX 2.3 has it (https://spdx.github.io/spdx-spec/v2.3/), as far as it is written here.
type bill struct {
	Version       string         `json:"spdxVersion"`
	DataLicense   string         `json:"dataLicense"`
	ID            string         `json:"SPDXID"`
	Name          string         `json:"name"`
	Namespace     string         `json:"documentNamespace"`
	CreationInfo  creationInfo   `json:"creationInfo"`
	Packages      []billPackage  `json:"packages"`
	Relationships []relationship `json:"relationships"`
}

type creationInfo struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type billPackage struct {
	ID               string        `json:"SPDXID"`
	Name             string        `json:"name"`
	Version          string        `json:"versionInfo"`
	Purpose          string        `json:"primaryPackagePurpose"`
	Location         string        `json:"downloadLocation"`
	FilesAnalyzed    bool          `json:"filesAnalyzed"`
	Checksums        []checksum    `json:"checksums,omitempty"`
	SourceInfo       string        `json:"sourceInfo,omitempty"`
	LicenseConcluded string        `json:"licenseConcluded"`
	LicenseDeclared  string        `json:"licenseDeclared"`
	Copyright        string        `json:"copyrightText"`
	References       []externalRef `json:"externalRefs,omitempty"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type externalRef struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type relationship struct {
	From string `json:"spdxElementId"`
	Type string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

const (
	documentID    = "SPDXRef-DOCUMENT"
	imageID       = "SPDXRef-Image"
	binaryID      = "SPDXRef-Binary"
	authoritiesID = "SPDXRef-CertificateAuthorities"
	unsaid        = "NOASSERTION"
)

// newBill lists what is in the image for one platform: the binary, what the linker recorded of the modules in it and
// of the toolchain, and where the certificate authorities are from. digest is that of the image's manifest.
func newBill(c *contents, b binary, authorities *debug.Module, digest string) *bill {
	sum := strings.TrimPrefix(digestOf(b.data), "sha256:")
	doc := &bill{
		Version: "SPDX-2.3", DataLicense: "CC0-1.0", ID: documentID,
		Name: "sluice " + c.version + " for linux/" + b.architecture,
		// Unique, as it has to be, and yet the same in each build.
		Namespace: "https://spdx.org/spdxdocs/sluice-" + c.version + "-linux-" + b.architecture + "-" + strings.TrimPrefix(digest, "sha256:"),
		CreationInfo: creationInfo{
			Created:  c.created.Format(time.RFC3339),
			Creators: []string{"Tool: sluice-image-" + c.version},
		},
	}
	doc.add(billPackage{
		ID: imageID, Name: "sluice", Version: c.version, Purpose: "CONTAINER", LicenseDeclared: "Apache-2.0",
		References: []externalRef{packageURL("pkg:oci/sluice@" + url.QueryEscape(digest) + "?arch=" + b.architecture)},
	}, documentID, "DESCRIBES")
	doc.add(billPackage{
		ID: binaryID, Name: b.info.Path, Version: c.version, Purpose: "APPLICATION", LicenseDeclared: "Apache-2.0",
		Checksums:  []checksum{{"SHA256", sum}},
		SourceInfo: "commit " + c.commit,
		References: []externalRef{packageURL(goURL(b.info.Main.Path, c.version))},
	}, imageID, "CONTAINS")
	doc.add(module(authoritiesID, authorities), imageID, "CONTAINS")
	toolchain, _, _ := strings.Cut(strings.TrimPrefix(b.info.GoVersion, "go"), " ") // without experiments
	doc.add(module("SPDXRef-Go", &debug.Module{Path: "stdlib", Version: toolchain}), binaryID, "DEPENDS_ON")
	for i, m := range b.info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		doc.add(module(fmt.Sprintf("SPDXRef-Module-%d", i+1), m), binaryID, "DEPENDS_ON")
	}
	return doc
}

// add adds a package, which is related to one that is there.
func (b *bill) add(p billPackage, from, how string) {
	p.Location, p.LicenseConcluded, p.Copyright = unsaid, unsaid, unsaid
	if p.LicenseDeclared == "" {
		p.LicenseDeclared = unsaid
	}
	b.Packages = append(b.Packages, p)
	b.Relationships = append(b.Relationships, relationship{from, how, p.ID})
}

// module is a package that is a Go module. Its hash is the one of go.sum, over the list of the module's files; what SPDX
// calls a checksum is that of one file, so it does not stand there.
func module(id string, m *debug.Module) billPackage {
	p := billPackage{
		ID: id, Name: m.Path, Version: m.Version, Purpose: "LIBRARY",
		References: []externalRef{packageURL(goURL(m.Path, m.Version))},
	}
	if m.Sum != "" {
		p.SourceInfo = "go.sum has " + m.Sum
	}
	return p
}

func packageURL(u string) externalRef { return externalRef{"PACKAGE-MANAGER", "purl", u} }

// goURL is the package URL of a module (https://github.com/package-url/purl-spec). Paths keep their case, which tells
// modules apart and which vulnerability databases look them up by.
func goURL(path, version string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return "pkg:golang/" + strings.Join(segments, "/") + "@" + url.QueryEscape(version)
}
