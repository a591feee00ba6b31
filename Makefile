# sluice: what there is to make. `make help` lists it.

GO      ?= go
BIN     := bin
TOOLS   := -modfile=.ci/tools/go.mod
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
COMMIT  := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

.DEFAULT_GOAL := help
.PHONY: help build image demo test lint fmt e2e bench bench-compare fuzz generate clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

BUILD   := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/

build: ## build bin/sluice and bin/sluice-bench
	$(BUILD) ./cmd/sluice ./cmd/sluice-bench

image: ## the container image, without a container engine: bin/image, an OCI layout for amd64 and arm64, and its bills of materials
	$(GO) run ./deploy/image -version '$(VERSION)' -commit '$(COMMIT)'

demo: ## see the main job: a registry, signed and unsigned images, the service, real reviews, the verdicts
	$(BUILD) ./cmd/sluice
	$(BIN)/sluice demo

test: ## unit and integration tests with the race detector, and the allocation tests without it
	$(GO) test -race ./...
	$(GO) test -run 'Alloc' ./cache ./engine ./server/... ./resolver/pullsecret

lint: ## gofumpt, go vet and staticcheck
	@unformatted=$$($(GO) tool $(TOOLS) gofumpt -l .); \
	if [ -n "$$unformatted" ]; then echo "$$unformatted" >&2; echo 'run: make fmt' >&2; exit 1; fi
	$(GO) vet ./...
	$(GO) tool $(TOOLS) staticcheck ./...
	@for module in deploy/e2e deploy/image/roots bench/compare; do \
	  (cd $$module && $(GO) vet ./... && $(GO) tool -modfile=$(CURDIR)/.ci/tools/go.mod staticcheck ./...) || exit 1; done

fmt: ## format the code
	$(GO) tool $(TOOLS) gofumpt -w .

e2e: ## against a real control plane, registries, cosign v2 and v3, Fulcio, Rekor and TSA (installs what it needs; 40 minutes when cold)
	deploy/e2e/run

bench: ## measure: the benchmarks beside the code against the baseline, and sluice-bench's scenarios (minutes)
	bench/run

bench-compare: ## sluice beside nginx, fasthttp, net/http, Ratify and Flask, and its caches and codecs (installs what it needs; 10 minutes, more when cold)
	bench/compare/run

fuzz: ## each fuzz target for a minute
	@for target in $$(grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u); do \
	  for f in $$(grep -rhoE '^func Fuzz[A-Za-z0-9_]+' $$target/*_test.go | sed 's/^func //'); do \
	    echo "$$target $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime 1m $$target || exit 1; done; done

generate: ## write what is generated: the policies' JSON schema
	$(GO) generate ./...

clean: ## remove what was built
	rm -rf $(BIN) .cache
