// Command image puts together sluice's container image, without a container engine and without a registry: an OCI image
// layout with the static binary for each platform, from scratch, to be run as nobody in particular, and for each a bill
// of materials that refers to it.
//
// It decides what is in the image, and nothing about where the image goes. It trusts the Go toolchain, which holds
// every module against go.sum. Two runs over the same tree with the same toolchain give the same bytes, wherever and
// whenever they run: --verify does a second one and compares.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

const usage = `Usage: go run ./deploy/image [flags]

Writes a container image of sluice as an OCI image layout, and beside it a bill of materials (SPDX 2.3) for each
platform. SOURCE_DATE_EPOCH is honoured; without it, the image is as old as its commit.

`

const afterwards = `
To push it, under a name of your own:
  skopeo copy --all oci:%[1]s:%[2]s docker://registry.example.com/sluice:%[2]s
With the bills of materials, as referrers of the images they are about:
  oras cp --recursive --from-oci-layout %[1]s:%[2]s registry.example.com/sluice:%[2]s
To load it into a node's containerd:
  tar -C %[1]s -cf - . | ctr -n k8s.io images import --base-name registry.example.com/sluice -
`

// run is the program without the process around it. stdout carries digests and what to do with them; what is going on
// is said on stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	out := flags.String("out", filepath.Join("bin", "image"), "the layout's `directory`; one that is there is replaced")
	version := flags.String("version", "", "the version, which is also the tag (default: git describe)")
	commit := flags.String("commit", "", "the commit (default: git rev-parse HEAD)")
	verify := flags.Bool("verify", false, "build again, in another directory and with an empty build cache, and compare (minutes)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is not a flag; --help lists them", flags.Arg(0))
	}
	s, err := findSource(ctx, ".", *version, *commit, os.LookupEnv)
	if err != nil {
		return err
	}
	fmt.Fprintf(stderr, "image: sluice %s, commit %s, of %s\n", s.version, s.commit, s.created.Format("2006-01-02 15:04:05 MST"))
	contents, err := s.build(ctx, "", stderr)
	if err != nil {
		return err
	}
	l, err := assemble(contents)
	if err != nil {
		return err
	}
	if *verify {
		if err := s.verify(ctx, l, stderr); err != nil {
			return err
		}
	}
	if err := l.write(*out); err != nil {
		return err
	}
	for _, p := range l.platforms {
		fmt.Fprintf(stdout, "%s  linux/%s, %d kB, bill of materials %s\n",
			p.manifest.Digest, p.architecture, p.size/1000, l.besides(*out, p))
	}
	fmt.Fprintf(stdout, "%s  %s: sluice %s for all platforms\n", l.index.Digest, *out, s.version)
	fmt.Fprintf(stdout, afterwards, *out, s.version)
	return nil
}

// verify builds the same source elsewhere and compares what comes out with l.
func (s *source) verify(ctx context.Context, l *layout, stderr io.Writer) error {
	dir, err := os.MkdirTemp("", "sluice-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Fprintln(stderr, "image: once more in", dir)
	again, err := s.copy(ctx, filepath.Join(dir, "some", "where", "else"))
	if err != nil {
		return err
	}
	contents, err := again.build(ctx, filepath.Join(dir, "cache"), stderr)
	if err != nil {
		return err
	}
	second, err := assemble(contents)
	if err != nil {
		return err
	}
	if difference := l.difference(second); difference != "" {
		return fmt.Errorf("two builds differ: %s", difference)
	}
	fmt.Fprintln(stderr, "image: both builds are the same, byte for byte")
	return nil
}
