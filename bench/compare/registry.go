package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sluice/resolver/registrytest"
)

// contents is what the registry's process says of what it holds.
type contents struct {
	Host  string   `json:"host"`
	Warm  []string `json:"warm"`  // the two images of the review that is asked again and again
	Cold  []string `json:"cold"`  // images that are asked about once each
	Key   string   `json:"key"`   // PEM: the public key that all of them are signed with
	Wrong string   `json:"wrong"` // an image that is not signed
}

// The images of the warm review have names of usual lengths.
const (
	warmRepository = "team/storefront"
	coldRepository = "team/batch"
)

// mainRegistry serves signed images until ctx ends. Signatures are in cosign's classic format, which all know.
func mainRegistry(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("registry", flag.ContinueOnError)
	cold := flags.Int("cold", 0, "how many images to make beside the usual ones")
	out := flags.String("contents", "", "the file to write what there is to, once it is there")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	registry, err := registrytest.New(registrytest.Options{})
	if err != nil {
		return err
	}
	defer registry.Close()
	key, err := registrytest.GenerateKey(registrytest.P256)
	if err != nil {
		return err
	}
	c := contents{Host: registry.Host(), Key: string(key.PublicPEM)}
	push := func(repository, tag string, sign bool) (string, error) {
		digest, err := registry.PushImage(repository + ":" + tag)
		if err == nil && sign {
			err = registry.Sign(repository, digest, key, registrytest.SignOptions{})
		}
		return c.Host + "/" + repository + ":" + tag, err
	}
	for _, tag := range []string{"v1.4.2", "migrations-v1.4.2"} {
		image, err := push(warmRepository, tag, true)
		if err != nil {
			return err
		}
		c.Warm = append(c.Warm, image)
	}
	for n := range *cold {
		image, err := push(coldRepository, fmt.Sprintf("v%d", n), true)
		if err != nil {
			return err
		}
		c.Cold = append(c.Cold, image)
	}
	if c.Wrong, err = push(warmRepository, "unsigned", false); err != nil {
		return err
	}
	written, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if err := os.WriteFile(*out+".tmp", written, 0o644); err != nil {
		return err
	}
	if err := os.Rename(*out+".tmp", *out); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// reviewOf is an ImageReview as the apiserver writes it.
func reviewOf(images ...string) []byte {
	containers := make([]string, len(images))
	for i, image := range images {
		containers[i] = `{"image":"` + image + `"}`
	}
	return []byte(`{"kind":"ImageReview","apiVersion":"imagepolicy.k8s.io/v1alpha1","metadata":{},"spec":{"containers":[` +
		strings.Join(containers, ",") + `],"annotations":{"team.image-policy.k8s.io/ticket":"none"},"namespace":"prod-shop"},` +
		`"status":{"allowed":false}}` + "\n")
}

// versionsOf reads the list of packages that bench/compare/run writes.
func versionsOf(tools string) map[string]string {
	versions := map[string]string{}
	f, err := os.Open(filepath.Join(tools, "debian", "versions"))
	if err != nil {
		return versions
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, version, ok := strings.Cut(lines.Text(), " "); ok {
			versions[name] = version
		}
	}
	return versions
}
