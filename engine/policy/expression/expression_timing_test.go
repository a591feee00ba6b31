package expression_test

import (
	"strings"
	"testing"

	"sluice/engine/policy/expression"
)

// provenance is of the form and size that a build on GitHub has (SLSA v1).
const provenance = `{
  "buildDefinition": {
    "buildType": "https://actions.github.io/buildtypes/workflow/v1",
    "externalParameters": {"workflow": {"ref": "refs/tags/v1.2.3", "repository": "https://git.example.com/team/app", "path": ".github/workflows/release.yaml"}},
    "internalParameters": {"github": {"event_name": "push", "repository_id": "123456789", "repository_owner_id": "1234567", "runner_environment": "github-hosted"}},
    "resolvedDependencies": [
      {"uri": "git+https://git.example.com/team/app@refs/tags/v1.2.3", "digest": {"gitCommit": "c1f3a0d5b6e7f8091a2b3c4d5e6f708192a3b4c5"}},
      {"uri": "pkg:docker/golang@1.26", "digest": {"sha256": "1f0f0d5b6e7f8091a2b3c4d5e6f708192a3b4c5d1f0f0d5b6e7f8091a2b3c4d5"}}
    ]
  },
  "runDetails": {
    "builder": {"id": "https://git.example.com/team/app/.github/workflows/release.yaml@refs/tags/v1.2.3"},
    "metadata": {"invocationId": "https://git.example.com/team/app/actions/runs/1234567890/attempts/1", "startedOn": "2026-11-22T07:31:00Z", "finishedOn": "2026-11-22T07:36:00Z"}
  }
}`

const condition = `predicate.buildDefinition.buildType == "https://actions.github.io/buildtypes/workflow/v1" &&
  predicate.buildDefinition.externalParameters.workflow.repository.startsWith("https://git.example.com/team/") &&
  predicate.buildDefinition.externalParameters.workflow.ref.matches("^refs/tags/v[0-9]+[.][0-9]+[.][0-9]+$") &&
  predicate.buildDefinition.internalParameters.github.runner_environment in ["github-hosted"] &&
  predicate.buildDefinition.resolvedDependencies.exists(d, d.uri.startsWith("git+https://git.example.com/"))`

// BenchmarkHolds is what one condition on one provenance costs, the reading of the predicate included.
func BenchmarkHolds(b *testing.B) {
	e, s := compile(b, condition), statement(provenance)
	b.ReportAllocs()
	for b.Loop() {
		if holds, err := evaluate(e, s); !holds || err != nil {
			b.Fatal(holds, err)
		}
	}
}

// BenchmarkHoldsPackages looks at each of 10,000 packages of an SBOM, 0.8 MB.
func BenchmarkHoldsPackages(b *testing.B) {
	e := compile(b, `predicate.packages.all(p, p.name.matches("^[a-z]+$") && p.license in ["MIT", "Apache-2.0"])`)
	s := statement(`{"packages":[` + strings.TrimSuffix(strings.Repeat(`{"name":"somepackage","license":"Apache-2.0","versionInfo":"1.2.3","supplier":"x"},`, 10_000), ",") + `]}`)
	b.ReportAllocs()
	for b.Loop() {
		if holds, err := evaluate(e, s); !holds || err != nil {
			b.Fatal(holds, err)
		}
	}
}

// BenchmarkCompile is what a reload costs for each expression.
func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := expression.Compile(condition); err != nil {
			b.Fatal(err)
		}
	}
}
