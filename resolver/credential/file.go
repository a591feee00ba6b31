package credential

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// file is the kubelet's CredentialProviderConfig (kubelet.config.k8s.io). Its three versions are alike but for
// tokenAttributes.
type file struct {
	APIVersion string         `yaml:"apiVersion"`
	Kind       string         `yaml:"kind"`
	Providers  []fileProvider `yaml:"providers"`
}

type fileProvider struct {
	Name                 string        `yaml:"name"`
	MatchImages          []string      `yaml:"matchImages"`
	DefaultCacheDuration *string       `yaml:"defaultCacheDuration"`
	APIVersion           string        `yaml:"apiVersion"`
	Args                 []string      `yaml:"args"`
	Env                  []fileEnviron `yaml:"env"`
	TokenAttributes      any           `yaml:"tokenAttributes"`
}

type fileEnviron struct {
	Name  string `yaml:"name"`
	Value string `yaml:"value"`
}

// The versions of the file, and of what is said to plugins.
var (
	fileVersions = [...]string{
		"kubelet.config.k8s.io/v1", "kubelet.config.k8s.io/v1beta1", "kubelet.config.k8s.io/v1alpha1",
	}
	pluginVersions = [...]string{
		"credentialprovider.kubelet.k8s.io/v1", "credentialprovider.kubelet.k8s.io/v1beta1",
		"credentialprovider.kubelet.k8s.io/v1alpha1",
	}
)

// maxProviders bounds what is asked for one image.
const maxProviders = 64

// settings are those of one provider, checked.
type settings struct {
	name       string
	images     []pattern
	apiVersion string
	args, env  []string // env as NAME=value
	duration   time.Duration
}

// readFiles reads the configuration: a file, or a directory whose *.json, *.yaml and *.yml are read in the order of their
// names, as one. It returns what it has read, a directory included.
func readFiles(path string) ([]settings, []string, error) {
	files := []string{path}
	documents := files
	info, err := os.Stat(path)
	if err != nil {
		return nil, files, err
	}
	if info.IsDir() {
		entries, err := os.ReadDir(path) // sorted
		if err != nil {
			return nil, files, err
		}
		for _, e := range entries {
			if ext := filepath.Ext(e.Name()); !e.IsDir() && (ext == ".json" || ext == ".yaml" || ext == ".yml") {
				files = append(files, filepath.Join(path, e.Name()))
			}
		}
		if documents = files[1:]; len(documents) == 0 {
			return nil, files, fmt.Errorf("%s: it is a directory without *.yaml, *.yml or *.json", path)
		}
	}
	var all []settings
	for _, name := range documents {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, files, err
		}
		var f file
		d, err := readDocument(name, text, &f)
		if err != nil {
			return nil, files, err
		}
		if all, err = f.check(d, all); err != nil {
			return nil, files, err
		}
	}
	if len(all) > maxProviders {
		return nil, files, fmt.Errorf("%s: it has %d providers, and %d is the most", path, len(all), maxProviders)
	}
	return all, files, nil
}

// check appends what a file configures to what those before it do, under the kubelet's rules
// (validateCredentialProviderConfig in pkg/credentialprovider/plugin/config.go).
func (f *file) check(d *document, all []settings) ([]settings, error) {
	if f.Kind != "CredentialProviderConfig" {
		return nil, d.at("$.kind", "kind must be CredentialProviderConfig")
	}
	if !slices.Contains(fileVersions[:], f.APIVersion) {
		return nil, d.at("$.apiVersion", "apiVersion must be one of %s", strings.Join(fileVersions[:], ", "))
	}
	if len(f.Providers) == 0 {
		return nil, d.at("$.providers", "providers must have at least one item")
	}
	var errs []error
	for i := range f.Providers {
		s, err := f.Providers[i].check(d, fmt.Sprintf("$.providers[%d]", i))
		if err == nil && slices.ContainsFunc(all, func(other settings) bool { return other.name == s.name }) {
			err = d.at(fmt.Sprintf("$.providers[%d].name", i), "there are two providers of the name %s", s.name)
		}
		errs, all = append(errs, err), append(all, s)
	}
	return all, errors.Join(errs...)
}

func (p *fileProvider) check(d *document, at string) (settings, error) {
	s := settings{name: p.Name, apiVersion: p.APIVersion, args: p.Args}
	var errs []error
	fail := func(field, format string, args ...any) {
		errs = append(errs, d.at(at+field, format, args...))
	}
	switch {
	case p.Name == "":
		fail(".name", "a provider needs a name: that of its program in the directory of plugins")
	case strings.ContainsAny(p.Name, "/ \x00"+string(filepath.Separator)) || p.Name == "." || p.Name == "..":
		fail(".name", "a provider's name is that of a program in the directory of plugins: "+
			"it can be neither . nor .., and has no separators and no spaces")
	}
	if !slices.Contains(pluginVersions[:], p.APIVersion) {
		fail(".apiVersion", "a provider's apiVersion must be one of %s", strings.Join(pluginVersions[:], ", "))
	}
	if len(p.MatchImages) == 0 {
		fail(".matchImages", "matchImages must have at least one item")
	}
	for i, image := range p.MatchImages {
		pattern, err := parsePattern(image)
		if err != nil {
			fail(fmt.Sprintf(".matchImages[%d]", i), "this is no host[:port][/path] to match images with")
		}
		s.images = append(s.images, pattern)
	}
	if p.DefaultCacheDuration == nil {
		fail(".defaultCacheDuration", "defaultCacheDuration is missing")
	} else if duration, err := time.ParseDuration(*p.DefaultCacheDuration); err != nil || duration < 0 {
		fail(".defaultCacheDuration", "defaultCacheDuration must be a duration such as 12h or 10m, 0s or longer")
	} else {
		s.duration = duration
	}
	for i, variable := range p.Env {
		if variable.Name == "" || strings.ContainsAny(variable.Name, "=\x00") || strings.Contains(variable.Value, "\x00") {
			fail(fmt.Sprintf(".env[%d]", i), "this is no environment variable")
		}
		s.env = append(s.env, variable.Name+"="+variable.Value)
	}
	if p.TokenAttributes != nil {
		fail(".tokenAttributes", "tokenAttributes is not supported: a plugin gets no service account's token here, "+
			"because there is none before the pod runs; list a provider that works without")
	}
	return s, errors.Join(errs...)
}
