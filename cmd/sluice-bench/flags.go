package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"sluice/bench"
	"sluice/bench/client"
	"sluice/bench/workload"
)

// clientFlags are whom to ask, and how.
type clientFlags struct {
	target       string
	targetIsMine bool

	caFile, certFile, keyFile, tokenFile, serverName string

	kind, protocol       string
	apiservers           int
	cache                bool
	connections, streams int
}

func (f *clientFlags) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.target, "target", "", "the webhook's URL, such as https://127.0.0.1:8443/v1/imagereview")
	flags.BoolVar(&f.targetIsMine, "target-is-mine", false, "load a target that isn't on loopback")
	flags.StringVar(&f.caFile, "ca-file", "", "PEM of the authorities the server's certificate may be of; default: the system's")
	flags.StringVar(&f.certFile, "cert-file", "", "PEM of the client certificate")
	flags.StringVar(&f.keyFile, "key-file", "", "PEM of its key")
	flags.StringVar(&f.tokenFile, "token-file", "", "a file with the bearer token to send")
	flags.StringVar(&f.serverName, "server-name", "", "the name to look for in the server's certificate, in place of the URL's")
	flags.StringVar(&f.kind, "client", "apiserver", "apiserver: connections as kube-apiserver has them; lean: little work in the client, to find the server's limit")
	flags.StringVar(&f.protocol, "protocol", "h2", "h2 or h1")
	flags.IntVar(&f.apiservers, "apiservers", 1, "how many apiservers there are, each with connections of its own")
	flags.BoolVar(&f.cache, "apiserver-cache", false, "each apiserver remembers 1,024 answers, as the plugin does, and doesn't send these reviews")
	flags.IntVar(&f.connections, "connections", 16, "connections of the lean client")
	flags.IntVar(&f.streams, "streams", 50, "reviews at once on each of them, with h2")
	_ = cmd.RegisterFlagCompletionFunc("client", cobra.FixedCompletions([]string{"apiserver", "lean"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("protocol", cobra.FixedCompletions([]string{"h2", "h1"}, cobra.ShellCompDirectiveNoFileComp))
}

func (f *clientFlags) make(cmd *cobra.Command) (bench.Client, error) {
	lean := f.kind == "lean"
	switch {
	case f.target == "":
		return nil, invalid(errors.New("whom to ask?"), "--target https://127.0.0.1:8443/v1/imagereview")
	case f.kind != "apiserver" && f.kind != "lean":
		return nil, invalid(fmt.Errorf("--client is apiserver or lean, not %q", f.kind))
	}
	others := []string{"connections", "streams"}
	if lean {
		others = []string{"apiservers", "apiserver-cache"}
	}
	for _, name := range others {
		if cmd.Flags().Changed(name) {
			return nil, invalid(fmt.Errorf("--%s says nothing with --client %s", name, f.kind))
		}
	}
	if f.apiservers < 1 || f.connections < 1 || f.streams < 1 {
		return nil, invalid(errors.New("--apiservers, --connections and --streams are above zero"))
	}
	token, err := readToken(f.tokenFile)
	if err != nil {
		return nil, invalid(err)
	}
	o := client.Options{
		URL: f.target, TargetIsMine: f.targetIsMine,
		CAFile: f.caFile, CertFile: f.certFile, KeyFile: f.keyFile, Token: token, ServerName: f.serverName,
		Protocol: f.protocol, Lean: lean,
	}
	if lean {
		o.Connections, o.Streams = f.connections, f.streams
	} else {
		o.Apiservers, o.Cache = f.apiservers, f.cache
	}
	c, err := client.New(o)
	switch {
	case errors.Is(err, client.ErrNotLoopback):
		return nil, invalid(err, mineHint)
	case err != nil:
		return nil, invalid(err)
	}
	return c, nil
}

// readToken reads a bearer token. Its errors never hold any of it.
func readToken(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	const most = 64 << 10
	content, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(content))
	if token == "" || len(token) > most {
		return "", fmt.Errorf("%s is empty, or larger than %d bytes: it is no token", name, most)
	}
	return token, nil
}

// workloadFlags are what the reviews are like.
type workloadFlags struct {
	o           workload.Options
	seed        uint64
	containers  string
	annotations string
}

func (f *workloadFlags) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.IntVar(&f.o.Images, "images", 0, "how many different images there are; default 1, or all of --images-file")
	flags.Float64Var(&f.o.Zipf, "zipf", 0, "how unevenly they are asked for: Zipf's exponent; 0 is evenly, 1 as registries see it")
	flags.StringVar(&f.o.Allowed, "image", "", "a pattern of images, in which {n} is their number; default "+workload.DefaultAllowed)
	flags.StringVar(&f.o.Denied, "denied-image", "", "a pattern of images that are expected to be denied; default "+workload.DefaultDenied)
	flags.StringVar(&f.o.List, "images-file", "", "take images from this file, the most popular first: one a line, with allow or deny behind it where that's known")
	flags.Float64Var(&f.o.Deny, "denied", 0, "the share of reviews with an image that is expected to be denied, from 0 to 1")
	flags.Float64Var(&f.o.Unique, "unique", 0, "the share of reviews with an image that was never there before; another --seed has others")
	flags.Float64Var(&f.o.Digests, "digests", 0, "the share of images that are named by digest")
	flags.StringVar(&f.containers, "containers", "1", "containers a review: a number, or a range such as 1..3")
	flags.StringVar(&f.annotations, "annotations", "0", "annotations a review: a number, and their size in bytes if it isn't 16, such as 2x100")
	flags.IntVar(&f.o.Namespaces, "namespaces", 1, "how many namespaces the reviews are of")
	flags.StringVar(&f.o.Recorded, "recorded", "", "send the ImageReviews of this file (JSON, one after the other) or folder (.json, .jsonl, .ndjson), again and again; --images-file tells which images are expected to be denied")
	flags.Uint64Var(&f.seed, "seed", 1, "the same seed makes the same reviews")
}

func (f *workloadFlags) make(cmd *cobra.Command) (bench.Workload, error) {
	if f.o.Recorded != "" {
		for _, name := range [...]string{"images", "zipf", "image", "denied-image", "denied", "unique", "digests", "containers", "annotations", "namespaces"} {
			if cmd.Flags().Changed(name) {
				return nil, invalid(fmt.Errorf("--%s says nothing with --recorded", name))
			}
		}
	}
	o := f.o
	o.Seed = f.seed
	var err error
	if o.Containers, o.MaxContainers, err = twoNumbers(f.containers, ".."); err != nil {
		return nil, invalid(fmt.Errorf("--containers is a number, or a range such as 1..3, not %q", f.containers))
	}
	if o.Containers < 1 || o.MaxContainers < o.Containers {
		return nil, invalid(fmt.Errorf("--containers is one or more, and a range goes up, not %q", f.containers))
	}
	const usualSize = 16
	if o.Annotations, o.AnnotationSize, err = twoNumbers(f.annotations, "x"); err != nil {
		return nil, invalid(fmt.Errorf("--annotations is a number, or with a size such as 2x100, not %q", f.annotations))
	}
	if !strings.Contains(f.annotations, "x") {
		o.AnnotationSize = usualSize
	}
	source, err := workload.New(o)
	if err != nil {
		return nil, invalid(err)
	}
	return source, nil
}

// twoNumbers reads A, or A and B with something between them. Without B, it is A.
func twoNumbers(text, between string) (a, b int, err error) {
	first, second, both := strings.Cut(text, between)
	if a, err = strconv.Atoi(first); err != nil || !both {
		return a, a, err
	}
	b, err = strconv.Atoi(second)
	return a, b, err
}
