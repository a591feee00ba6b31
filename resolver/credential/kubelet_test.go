package credential

import (
	"encoding/json"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"sluice/engine"
)

// The kubelet's own keyring, to compare with: add, lookup and what they call, from pkg/credentialprovider/keyring.go of
// Kubernetes v1.36.3, with one login a key and a slice for its sets. Copyright 2014 The Kubernetes Authors, licensed under
// the Apache License, Version 2.0.
type kubeletKeyring struct {
	index []string
	creds map[string][]string
}

func (dk *kubeletKeyring) add(locations []string) {
	dk.creds = map[string][]string{}
	for _, loc := range locations {
		value := loc
		if !strings.HasPrefix(value, "https://") && !strings.HasPrefix(value, "http://") {
			value = "https://" + value
		}
		parsed, err := url.Parse(value)
		if err != nil {
			continue
		}
		effectivePath := parsed.Path
		if strings.HasPrefix(effectivePath, "/v2/") || strings.HasPrefix(effectivePath, "/v1/") {
			effectivePath = effectivePath[3:]
		}
		var key string
		if (len(effectivePath) > 0) && (effectivePath != "/") {
			key = parsed.Host + effectivePath
		} else {
			key = parsed.Host
		}
		dk.creds[key] = append(dk.creds[key], loc)
		dk.index = append(dk.index, key)
	}
	sort.Strings(dk.index)
	dk.index = slices.Compact(dk.index)
	sort.Sort(sort.Reverse(sort.StringSlice(dk.index)))
}

func (dk *kubeletKeyring) lookup(image string) []string {
	var ret []string
	for _, k := range dk.index {
		if matched, _ := kubeletURLsMatchStr(k, image); matched {
			ret = append(ret, dk.creds[k]...)
		}
	}
	if len(ret) > 0 {
		return ret
	}
	if kubeletIsDefaultRegistryMatch(image) {
		return dk.creds["index.docker.io"]
	}
	return nil
}

func kubeletIsDefaultRegistryMatch(image string) bool {
	parts := strings.SplitN(image, "/", 2)
	if len(parts[0]) == 0 {
		return false
	}
	if len(parts) == 1 {
		return true
	}
	if parts[0] == "docker.io" || parts[0] == "index.docker.io" {
		return true
	}
	return !strings.ContainsAny(parts[0], ".:")
}

func kubeletURLsMatchStr(glob, target string) (bool, error) {
	globURL, err := url.Parse("https://" + glob)
	if err != nil {
		return false, err
	}
	targetURL, err := url.Parse("https://" + target)
	if err != nil {
		return false, err
	}
	globURLParts, globPort := kubeletSplitURL(globURL)
	targetURLParts, targetPort := kubeletSplitURL(targetURL)
	if globPort != targetPort {
		return false, nil
	}
	if len(globURLParts) != len(targetURLParts) {
		return false, nil
	}
	if !strings.HasPrefix(targetURL.Path, globURL.Path) {
		return false, nil
	}
	for k, globURLPart := range globURLParts {
		matched, err := filepath.Match(globURLPart, targetURLParts[k])
		if err != nil {
			return false, err
		}
		if !matched {
			return false, nil
		}
	}
	return true, nil
}

func kubeletSplitURL(url *url.URL) (parts []string, port string) {
	host, port, err := net.SplitHostPort(url.Host)
	if err != nil {
		host, port = url.Host, ""
	}
	return strings.Split(host, "."), port
}

// FuzzKeyring compares with the kubelet: whatever a secret's entries are called, and whatever the image, the logins are
// the same, in the same order.
func FuzzKeyring(f *testing.F) {
	f.Add("eu.example.com/team *.example.com https://eu.example.com/v2/ eu.example.com:5000", "eu.example.com/team/app")
	f.Add("https://index.docker.io/v1/ docker.io docker.io/library *.io index.docker.io/v1", "nginx")
	f.Add("123.dkr.ecr.eu.amazonaws.com *.dkr.ecr.*.amazonaws.com %2a.example [::1]:5000 u@r.example", "123.dkr.ecr.eu.amazonaws.com.evil.example/x")
	f.Add("localhost:5000/a%2fb localhost:5000/a%252fb http://localhost:5000 r?.example r[a-c.example r.example?x r.example#y", "localhost:5000/a/b")
	f.Add("index.docker.io", "localhost/app")
	f.Add("[::1] [::1]:5000 ::1 [*]:5000 [::1%25en0]", "[::1]:5000/x")
	f.Fuzz(func(t *testing.T, locations, image string) {
		ref, err := engine.ParseReference(image)
		if err != nil {
			return
		}
		var given []string
		entries := map[string]dockerEntry{}
		for _, location := range strings.Fields(locations) {
			location = strings.ToValidUTF8(location, "")
			if _, again := entries[location]; again || len(entries) == maxLogins || len(location) > maxLocation {
				continue
			}
			entries[location] = dockerEntry{Username: location, Password: "p"}
			given = append(given, location)
		}
		delete(entries, "")
		text, err := json.Marshal(entries)
		if err != nil {
			t.Fatal(err)
		}
		k, err := ParseDockercfg(text)
		if err != nil {
			t.Fatal(err)
		}
		sort.Strings(given) // the kubelet goes through a map, in any order
		var theirs kubeletKeyring
		theirs.add(given)
		name := ref.Name()
		if ref.Registry == engine.DockerHub {
			name = "docker.io/" + ref.Repository // as the kubelet's parsers.ParseImageName has it
		}
		var ours []string
		for _, login := range k.Logins(ref.Registry, ref.Repository) {
			ours = append(ours, login.Username())
		}
		want := theirs.lookup(name)
		if ref.Registry == "localhost" && len(ours) == 0 {
			want = nil // which the kubelet takes for Docker Hub, whose credentials are not for it here
		}
		if !slices.Equal(ours, want) {
			t.Errorf("%q for %s: got %q, and the kubelet %q", given, name, ours, want)
		}
		if Merge(k, nil).ID() != k.ID() {
			t.Error("merged with nothing, and of another ID")
		}
	})
}
