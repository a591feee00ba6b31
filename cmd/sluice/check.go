package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice/engine"
	"sluice/server/wire"
)

// checkFlags are what sluice check decides by.
type checkFlags struct {
	config     string
	policies   []string
	registries []string
	namespace  string
	review     string
	noMatch    string
	timeout    time.Duration
	explain    bool
	output     string
}

func newCheck() *cobra.Command {
	var f checkFlags
	cmd := &cobra.Command{
		Use:   "check [IMAGE…] (--config FILE | --policy PATH)",
		Short: "Decide here and now, without a server",
		Long: `Decide whether images may run, by the policies and registries of a configuration or by those given, without a server.
The answer is on stdout; the exit code is 0 if all images may run, 1 if not, and 3 if that can't be decided because a
registry can't be reached, whatever a policy's onError would make of it.

It is about images as they are written. Where a policy says pin or alwaysPullImages, it is also told what the mutating
webhook would change, and what would become of that. Pull secrets of a cluster are not read.`,
		Example: `  sluice check nginx:latest --policy policies/
  sluice check registry.example.com/team/app:v1 -n prod-a --config sluice.yaml -o json
  sluice check localhost:5000/app:v1 --policy signed.yaml --registry http://localhost:5000
  sluice check registry.example.com/team/app:v1 --config sluice.yaml --explain
  sluice check --review recorded-imagereview.json --config sluice.yaml`,
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.config, "config", "c", "", "decide by this configuration's policies, registries and noMatch")
	flags.StringArrayVar(&f.policies, "policy", nil, "decide by the policies of this file or directory; may be repeated")
	flags.StringArrayVar(&f.registries, "registry", nil, "a registry that may be contacted, as HOST or http://HOST; may be repeated")
	flags.StringVarP(&f.namespace, "namespace", "n", "default", "the namespace the images are to run in")
	flags.StringVarP(&f.review, "review", "f", "", "take images and namespace from a recorded ImageReview (- for standard input)")
	flags.StringVar(&f.noMatch, "no-match", "", "deny, allow or warn: what becomes of images that no policy matches")
	flags.DurationVar(&f.timeout, "timeout", 8*time.Second, "how long deciding may take")
	flags.BoolVar(&f.explain, "explain", false, "also tell what was found, why each signature counts or not, and every request")
	check := outputFlag(cmd, &f.output)
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	cmd.RunE = func(cmd *cobra.Command, images []string) error {
		if err := check(); err != nil {
			return err
		}
		req, err := f.request(images, cmd.InOrStdin())
		if err != nil {
			return err
		}
		return f.decide(cmd.Context(), req, cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// request is what is asked.
func (f *checkFlags) request(images []string, stdin io.Reader) (*engine.Request, error) {
	if f.review == "" {
		if len(images) == 0 {
			return nil, invalid(errors.New("there is no image to check"), "sluice check IMAGE --policy PATH")
		}
		return &engine.Request{Namespace: f.namespace, Images: images}, nil
	}
	if len(images) > 0 {
		return nil, invalid(errors.New("images come from the command line or from --review, not from both"))
	}
	var (
		body []byte
		err  error
	)
	if f.review == "-" {
		body, err = io.ReadAll(stdin)
	} else {
		body, err = os.ReadFile(f.review)
	}
	if err != nil {
		return nil, invalid(err)
	}
	var review wire.Review
	if err := review.Decode(bytes.Clone(body)); err != nil {
		return nil, invalid(fmt.Errorf("%s is no ImageReview: %w", f.review, err))
	}
	if review.Kind != "ImageReview" {
		return nil, invalid(fmt.Errorf("%s is no ImageReview but of kind %q", f.review, review.Kind))
	}
	if len(review.Images) == 0 {
		return nil, invalid(fmt.Errorf("%s names no container", f.review))
	}
	return &engine.Request{Namespace: review.Namespace, Images: review.Images}, nil
}

// configuration is the part of a configuration that deciding takes: the file's, with the flags over it.
func (f *checkFlags) configuration() (*Config, error) {
	c := new(Config)
	if f.config != "" {
		read, err := readConfig(f.config)
		if err != nil {
			return nil, invalid(err, configHints(err)...)
		}
		c = read
	}
	if f.config == "" && len(f.policies) == 0 {
		return nil, invalid(errors.New("there is nothing to decide by"), "name policies with --policy PATH, or a configuration with --config FILE")
	}
	switch f.noMatch {
	case "":
	case "deny", "allow", "warn":
		c.NoMatch = f.noMatch
	default:
		return nil, invalid(fmt.Errorf("--no-match is deny, allow or warn, not %q", f.noMatch))
	}
	c.addRegistries(f.registries)
	return c, nil
}

// addRegistries adds registries of the command line: HOST, or http://HOST for one without TLS.
func (c *Config) addRegistries(hosts []string) {
	for _, r := range hosts {
		host, plain := strings.CutPrefix(r, "http://")
		c.Registries = append(c.Registries, ConfigRegistry{Host: strings.TrimPrefix(host, "https://"), PlainHTTP: plain})
	}
}

func (f *checkFlags) decide(ctx context.Context, req *engine.Request, stdout, stderr io.Writer) error {
	c, err := f.configuration()
	if err != nil {
		return err
	}
	paths := f.policies
	if len(paths) == 0 {
		paths = c.policies()
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	set, err := newRoots(c.path(c.TrustedRoots.CacheDir), slog.New(slog.NewTextHandler(stderr, nil))).loadWaiting(ctx, paths)
	if err != nil {
		return invalid(err)
	}
	// What is remembered serves one review, and the memory for a service's caches takes longer to set up than to decide.
	const remembered = 1000
	c.Cache.Tags, c.Cache.Signatures = capacity{entries: remembered}, capacity{entries: remembered}
	var seen *explanation
	if f.explain {
		seen = &explanation{began: time.Now()}
	}
	b, err := newBackend(c, seen, nil)
	if err != nil {
		return invalid(err)
	}
	defer b.close()
	e, err := engine.New(engine.Config{Resolver: b.resolver, Verifier: b.verifier, MaxVerdicts: remembered})
	if err != nil {
		return err
	}
	defer e.Close()
	e.Load(engine.NewSnapshot(set.Policies, c.noMatch()))

	var res engine.Result
	e.Decide(ctx, req, &res)
	answer := newCheckAnswer(&res)
	answer.addChanges(ctx, e, req, &res)
	if seen != nil {
		answer.Explain = seen.explain(set.Policies)
	}
	if f.output == "json" {
		err = json.NewEncoder(stdout).Encode(answer)
	} else {
		err = answer.print(stdout)
	}
	if err != nil {
		return err
	}
	return answer.exit()
}

// checkAnswer is what check prints as JSON.
type checkAnswer struct {
	Verdict          string            `json:"verdict"`
	Reason           string            `json:"reason"`
	Message          string            `json:"message,omitempty"`
	Images           []checkedImage    `json:"images"`
	AuditAnnotations map[string]string `json:"auditAnnotations"`
	Explain          *explained        `json:"explain,omitempty"`

	undecided bool
}

type checkedImage struct {
	Image   string `json:"image"`
	Verdict string `json:"verdict"`
	Reason  string `json:"reason"`
	Digest  string `json:"digest,omitempty"`
	Policy  string `json:"policy,omitempty"`
	Message string `json:"message,omitempty"`
	Detail  string `json:"detail,omitempty"` // of a failure, for operators

	Webhook *changedImage `json:"webhook,omitempty"` // nil if no policy has it changed
}

func newCheckedImage(v *engine.Verdict) checkedImage {
	c := checkedImage{
		Image: v.Image, Verdict: v.Outcome.String(), Reason: v.Reason.String(), Digest: string(v.Digest), Policy: v.Policy,
		Message: v.Message(), Detail: v.Detail(),
	}
	if v.Warning {
		c.Verdict = "warn"
	}
	return c
}

func newCheckAnswer(res *engine.Result) *checkAnswer {
	a := &checkAnswer{
		Verdict: res.Outcome.String(), Reason: res.Reason.String(), Message: string(res.Message()),
		Images: []checkedImage{}, AuditAnnotations: map[string]string{},
	}
	denied := false
	for _, v := range res.Images() {
		a.Images = append(a.Images, newCheckedImage(v))
		a.undecided = a.undecided || v.Reason.Transient()
		denied = denied || v.Outcome == engine.Deny && !v.Reason.Transient()
	}
	a.undecided = a.undecided && !denied
	for _, note := range res.Audit() {
		a.AuditAnnotations[note.Key] = string(note.Value)
	}
	return a
}

func (a *checkAnswer) print(w io.Writer) error {
	var b strings.Builder
	for _, image := range a.Images {
		fmt.Fprintf(&b, "%-6s%s", image.Verdict, image.Image)
		if image.Digest != "" && !strings.HasSuffix(image.Image, image.Digest) {
			fmt.Fprintf(&b, " (%s)", image.Digest)
		}
		fmt.Fprintf(&b, ": %s\n", image.Reason)
		if image.Message != "" {
			fmt.Fprintf(&b, "      %s\n", image.Message)
		}
		if image.Detail != "" && a.undecided {
			fmt.Fprintf(&b, "      detail: %s\n", image.Detail)
		}
		if image.Webhook != nil {
			image.Webhook.print(&b, image.Verdict)
		}
	}
	if a.Explain != nil {
		a.Explain.print(&b)
	}
	_, err := io.WriteString(w, printable(b.String()))
	return err
}

func (a *checkAnswer) exit() error {
	switch {
	case a.undecided:
		return &exitError{code: exitUndecidable}
	case a.Verdict != "allow":
		return &exitError{code: exitDenied}
	}
	return nil
}
