package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// room is one folder of the house: what else of the repository it may import, and what it must never reach, however
// far away.
type room struct {
	may    []string // packages of this repository; a trailing /... takes the folders below
	never  []string // prefixes of packages, checked over everything that is reached
	reason string
}

// The rooms and the arrows between them. An arrow runs down only: from the command to the server, to the decision, to
// what it rests on.
var rooms = map[string]room{
	"cache": {
		reason: "the cache knows no images, so that it can be read and tested alone",
		never:  []string{"net/http", "github.com/valyala/fasthttp", "log/slog"},
	},
	"engine": {
		may:    []string{"cache"},
		never:  []string{"net/http", "github.com/valyala/fasthttp", "github.com/sigstore", "go.opentelemetry.io/otel/sdk", "github.com/goccy/go-yaml", "log/slog"},
		reason: "the decision is pure: given a snapshot, a request and its ports, it decides",
	},
	"engine/policy/strictyaml": {
		never:  []string{"net/http", "github.com/sigstore"},
		reason: "documents are read from files, never from a network",
	},
	"engine/policy/expression": {
		may:    []string{"engine"},
		never:  []string{"net/http", "github.com/sigstore", "github.com/goccy/go-yaml"},
		reason: "a condition sees one statement and nothing else",
	},
	"engine/policy/clusterimagepolicy": {
		may:    []string{"engine/policy/strictyaml"},
		never:  []string{"net/http", "github.com/sigstore", "k8s.io"},
		reason: "translating a document takes neither a cluster nor a network",
	},
	"engine/policy": {
		may:    []string{"engine", "engine/policy/strictyaml", "engine/policy/expression", "engine/policy/clusterimagepolicy"},
		never:  []string{"net/http", "github.com/sigstore", "github.com/valyala/fasthttp"},
		reason: "a policy is compiled without any network, so that start-up never needs one",
	},
	"resolver": {
		may:    []string{"engine", "cache", "resolver/mirror"},
		never:  []string{"github.com/sigstore", "github.com/valyala/fasthttp", "github.com/aws", "cloud.google.com", "github.com/Azure"},
		reason: "registries are contacted without cloud SDKs, and know nothing of signatures",
	},
	"resolver/mirror": {
		never:  []string{"net/http", "github.com/sigstore", "k8s.io"},
		reason: "it reads what the nodes' runtime reads, and contacts nothing",
	},
	"resolver/credential": {
		may:    []string{"engine", "cache"},
		never:  []string{"net/http", "github.com/sigstore", "k8s.io", "github.com/aws", "cloud.google.com", "github.com/Azure"},
		reason: "clouds are known by the node's own programs alone",
	},
	"resolver/pullsecret": {
		may:    []string{"engine", "cache", "resolver/credential"},
		never:  []string{"github.com/sigstore", "k8s.io/client-go", "k8s.io/api", "k8s.io/apimachinery"},
		reason: "two GET requests do not take a client of 40 MB",
	},
	"resolver/signature/attached": {
		may:    []string{"engine", "resolver"},
		never:  []string{"github.com/sigstore", "github.com/valyala/fasthttp"},
		reason: "finding is one thing and verifying another: nothing here believes anything",
	},
	"resolver/signature/trustroot": {
		may:    []string{"engine"},
		never:  []string{"github.com/sigstore/cosign", "github.com/valyala/fasthttp", "k8s.io/api", "k8s.io/apimachinery", "k8s.io/client-go"},
		reason: "a root is checked when the rules are loaded, long before an image is",
	},
	"resolver/signature/proof": {
		may:    []string{"engine", "resolver/signature/attached", "resolver/signature/trustroot"},
		never:  []string{"github.com/sigstore/cosign", "github.com/sigstore/sigstore/pkg/signature/kms", "github.com/valyala/fasthttp", "k8s.io/api", "k8s.io/apimachinery", "k8s.io/client-go"},
		reason: "one judge for the service and for the conformance program, without a registry",
	},
	"resolver/signature/signaturetest": {
		may:    []string{"engine", "resolver/registrytest"},
		never:  []string{"github.com/sigstore/cosign", "github.com/valyala/fasthttp"},
		reason: "a test kit; it signs, and verifies nothing",
	},
	"resolver/signature/conformance": {
		may:    []string{"engine", "resolver/signature/..."},
		reason: "a command of its own over the very code that the service uses",
	},
	"resolver/signature": {
		may:    []string{"engine", "cache", "resolver", "resolver/signature/..."},
		never:  []string{"github.com/sigstore/cosign/v2/cmd", "github.com/sigstore/sigstore/pkg/signature/kms", "github.com/valyala/fasthttp", "k8s.io/api", "k8s.io/apimachinery", "k8s.io/client-go"},
		reason: "a leaf: what signatures need is compiled in one place",
	},
	"resolver/registrytest": {
		may:    []string{"engine"},
		never:  []string{"testing", "github.com/valyala/fasthttp"},
		reason: "a test kit that the demo uses too, so it may not be part of a test binary only",
	},
	"server": {
		may:    []string{"engine", "server/..."},
		never:  []string{"sluice/resolver", "github.com/sigstore", "github.com/goccy/go-yaml", "github.com/google/go-containerregistry"},
		reason: "the front end turns bytes into verdicts; what a verdict rests on is not its business",
	},
	"server/wire":      {never: []string{"k8s.io", "github.com/valyala/fasthttp", "encoding/json", "fmt"}, reason: "codecs are small structs without reflection"},
	"server/h2":        {never: []string{"sluice/engine", "net/http", "github.com/valyala/fasthttp", "log/slog"}, reason: "a protocol is the same whatever it carries"},
	"server/telemetry": {never: []string{"sluice/engine"}, reason: "it takes functions, so that SDKs stay out of the decision"},
	"server/admin":     {never: []string{"sluice/engine", "github.com/valyala/fasthttp"}, reason: "the admin plane shows what it is given"},
	"bench/schedule": {
		never:  []string{"net", "sluice/engine"},
		reason: "moments in time, and nothing that could be sent at them",
	},
	"bench": {
		may:    []string{"bench/schedule"},
		never:  []string{"sluice/engine", "sluice/server", "sluice/resolver", "github.com/valyala/fasthttp"},
		reason: "a load generator that shared code with what it measures would share its mistakes",
	},
	"bench/workload": {
		may:    []string{"bench"},
		never:  []string{"net", "sluice/engine", "sluice/server"},
		reason: "reviews are made without asking anyone",
	},
	"bench/client": {
		may:    []string{"bench"},
		never:  []string{"sluice/engine", "sluice/server", "github.com/valyala/fasthttp"},
		reason: "it speaks as the apiserver does, whatever the server is",
	},
	"bench/report": {
		may:    []string{"bench", "bench/schedule"},
		never:  []string{"sluice/engine", "sluice/server"},
		reason: "a report shows what was measured, wherever that was",
	},
	"bench/scenario": {
		may:    []string{"bench", "bench/schedule", "bench/workload", "bench/client", "resolver/registrytest", "deploy/pki"},
		never:  []string{"sluice/server", "github.com/valyala/fasthttp"},
		reason: "the service that is measured is a process of its own",
	},
	"cmd/sluice-bench": {
		may:    []string{"bench", "bench/..."},
		never:  []string{"sluice/server", "github.com/valyala/fasthttp"},
		reason: "a binary of its own, so that production images carry no load generator",
	},
	"deploy":     {may: []string{"deploy/pki"}, never: []string{"sluice/engine", "sluice/server"}, reason: "what is rendered does not depend on what serves"},
	"deploy/pki": {reason: "certificates alone"},
	"deploy/image": {
		never:  []string{"sluice/engine", "sluice/server", "net/http"},
		reason: "an image is put together from files, without a registry or a container engine",
	},
	"cmd/sluice": {may: []string{"..."}, reason: "wiring"},
}

// TestImports holds the code against the rooms.
func TestImports(t *testing.T) {
	t.Parallel()
	packages := listPackages(t)
	for path, p := range packages {
		folder, ours := strings.CutPrefix(path, "sluice/")
		if !ours {
			continue
		}
		r, ok := rooms[folder]
		if !ok {
			t.Errorf("%s is in no room: add it to the rooms above, with what it may import and why", path)
			continue
		}
		for _, imported := range p.Imports {
			if to, ours := strings.CutPrefix(imported, "sluice/"); ours && !r.allows(to) {
				t.Errorf("%s imports %s and may not: %s", path, imported, r.reason)
			}
		}
		for _, dep := range p.Deps {
			for _, never := range r.never {
				if dep == never || strings.HasPrefix(dep, never+"/") {
					t.Errorf("%s reaches %s and must not: %s", path, dep, r.reason)
				}
			}
		}
	}
	for folder := range rooms {
		if packages["sluice/"+folder] == nil {
			t.Errorf("the room %s is empty", folder)
		}
	}
}

func (r room) allows(folder string) bool {
	return slices.ContainsFunc(r.may, func(may string) bool {
		below, all := strings.CutSuffix(may, "...")
		return folder == may || all && strings.HasPrefix(folder, below)
	})
}

type goPackage struct {
	ImportPath    string
	Imports, Deps []string
}

func listPackages(t *testing.T) map[string]*goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports,Deps", "sluice/...")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	packages := make(map[string]*goPackage)
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		p := new(goPackage)
		if err := dec.Decode(p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages[p.ImportPath] = p
	}
}
