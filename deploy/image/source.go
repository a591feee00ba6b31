package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// architectures are those that the image is built for, on Linux.
var architectures = [...]string{"amd64", "arm64"}

// source is a tree of this repository and what its commit says about it.
type source struct {
	dir     string
	version string
	commit  string
	created time.Time // UTC, whole seconds
}

// A version is also a tag of the image (OCI distribution specification, "Pulling manifests").
var tag = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)

// findSource finds the repository around dir. What is given as version and commit is not asked of git; without git both
// have to be given, and the time as SOURCE_DATE_EPOCH (https://reproducible-builds.org/specs/source-date-epoch/).
func findSource(ctx context.Context, dir, version, commit string, env func(string) (string, bool)) (*source, error) {
	module, err := output(ctx, dir, nil, "go", "env", "GOMOD")
	if err != nil {
		return nil, err
	}
	s := &source{dir: filepath.Dir(module), version: version, commit: commit}
	if _, err := os.Stat(filepath.Join(s.dir, "cmd", "sluice")); err != nil {
		return nil, fmt.Errorf("there is no cmd/sluice here: call it from the checkout of sluice")
	}
	ask := func(value *string, args ...string) {
		if err == nil && *value == "" {
			*value, err = output(ctx, s.dir, nil, "git", args...)
		}
	}
	ask(&s.version, "describe", "--tags", "--always", "--dirty")
	ask(&s.commit, "rev-parse", "HEAD")
	epoch, _ := env("SOURCE_DATE_EPOCH")
	ask(&epoch, "log", "-1", "--format=%ct")
	if err != nil {
		return nil, fmt.Errorf("%w\nwithout git, give --version, --commit and SOURCE_DATE_EPOCH", err)
	}
	if !tag.MatchString(s.version) {
		return nil, fmt.Errorf("the version %q can't be an image's tag: letters, digits, '_', '.' and '-', at most 128", s.version)
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil || seconds < 0 || seconds > 253402300799 { // the end of the year 9999, and of RFC 3339
		return nil, fmt.Errorf("SOURCE_DATE_EPOCH is the number of seconds since 1970, not %q", epoch)
	}
	s.created = time.Unix(seconds, 0).UTC()
	return s, nil
}

// build compiles the binaries, with Go's build cache in the given directory, or where it is usually. Only what stands
// here and the toolchain decide what comes out: what the environment says about building is left out.
func (s *source) build(ctx context.Context, cache string, stderr io.Writer) (*contents, error) {
	c := &contents{version: s.version, commit: s.commit, created: s.created}
	common := []string{"CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GOEXPERIMENT=", "GODEBUG=", "GOFIPS140=off"}
	if cache != "" {
		common = append(common, "GOCACHE="+cache)
	}
	roots, err := command(ctx, filepath.Join(s.dir, "deploy", "image", "roots"), common, "go", "run", ".")
	if err != nil {
		return nil, err
	}
	c.roots = roots
	temp, err := os.MkdirTemp("", "sluice-image-build-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	for _, architecture := range architectures {
		fmt.Fprintf(stderr, "image: building for linux/%s\n", architecture)
		file := filepath.Join(temp, architecture)
		env := append([]string{"GOOS=linux", "GOARCH=" + architecture, "GOAMD64=v1", "GOARM64=v8.0"}, common...)
		if _, err := command(ctx, s.dir, env, "go", "build", "-trimpath", "-buildvcs=false",
			"-ldflags=-s -w -X main.version="+s.version+" -X main.commit="+s.commit, "-o", file, "./cmd/sluice"); err != nil {
			return nil, err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		info, err := buildinfo.Read(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		c.binaries = append(c.binaries, binary{architecture, data, info})
	}
	return c, nil
}

// copy copies what git has of the tree, as it stands and not as it was committed, to dir.
func (s *source) copy(ctx context.Context, dir string) (*source, error) {
	list, err := command(ctx, s.dir, nil, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return nil, err
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(list), "\x00"), "\x00") {
		data, err := os.ReadFile(filepath.Join(s.dir, name))
		if errors.Is(err, os.ErrNotExist) { // removed, and not yet from git
			continue
		}
		if err != nil {
			return nil, err
		}
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
			return nil, err
		}
		if err := os.WriteFile(file, data, 0o666); err != nil {
			return nil, err
		}
	}
	c := *s
	c.dir = dir
	return &c, nil
}

// command runs a program and returns what it wrote to stdout. env goes before the process's own.
func command(ctx context.Context, dir string, env []string, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

// output runs a program and returns the one line that it wrote.
func output(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	out, err := command(ctx, dir, env, name, args...)
	return strings.TrimSpace(string(out)), err
}
