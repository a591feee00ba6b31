package resolver

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// credential is a user name and password. It has no exported fields and is never printed.
type credential struct{ username, password string }

func (c credential) basic() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(c.username+":"+c.password))
}

func (c credential) check() error {
	switch {
	case c.username == "" || c.password == "":
		return errors.New("user name and password must not be empty")
	case strings.Contains(c.username, ":"):
		return errors.New("a user name can't hold a colon")
	}
	return nil
}

// loadCredentials reads what the configuration names, by host. Errors name files and hosts, never what is secret.
func loadCredentials(r Registry, host hostPattern) (map[string]credential, error) {
	switch {
	case r.DockerConfigFile != "":
		return loadDockerConfig(r.DockerConfigFile, host)
	case r.UsernameFile != "":
		if !host.exact {
			return nil, errors.New("usernameFile and passwordFile are for one host, and host is a pattern: " +
				"list the host by its name, or use dockerConfigFile")
		}
		username, err := readLine("usernameFile", r.UsernameFile)
		if err != nil {
			return nil, err
		}
		password, err := readLine("passwordFile", r.PasswordFile)
		if err != nil {
			return nil, err
		}
		c := credential{username, password}
		if err := c.check(); err != nil {
			return nil, fmt.Errorf("usernameFile, passwordFile: %w", err)
		}
		return map[string]credential{host.text: c}, nil
	}
	return nil, nil
}

func readLine(field, path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", field, err)
	}
	return string(bytes.TrimRight(b, "\r\n")), nil
}

// dockerConfig is what of a docker config.json can hold credentials.
type dockerConfig struct {
	Auths       map[string]dockerAuth `json:"auths"`
	CredHelpers map[string]string     `json:"credHelpers"`
	CredsStore  string                `json:"credsStore"`
}

type dockerAuth struct {
	Auth          string `json:"auth"` // base64 of user:password
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

func loadDockerConfig(path string, host hostPattern) (map[string]credential, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("dockerConfigFile: %w", err)
	}
	fail := func(format string, args ...any) (map[string]credential, error) {
		return nil, fmt.Errorf("dockerConfigFile %s: %s", path, fmt.Sprintf(format, args...))
	}
	var config dockerConfig
	if err := json.Unmarshal(b, &config); err != nil {
		return fail("it is no docker config file, or not valid JSON") // the error could quote a password
	}
	if len(config.CredHelpers) > 0 || config.CredsStore != "" {
		return fail("credHelpers and credsStore name programs, and none is ever run: keep the credentials under auths, " +
			"in a file that only this service can read")
	}
	credentials := map[string]credential{}
	for _, key := range slices.Sorted(maps.Keys(config.Auths)) {
		name, err := dockerHost(key)
		if err != nil || !host.match(name) {
			continue // an entry for somebody else
		}
		c, err := config.Auths[key].credential()
		if err != nil {
			return fail("the entry for %s: %v", key, err)
		}
		if other, ok := credentials[name]; ok && other != c {
			return fail("it has two entries for %s that differ", name)
		}
		credentials[name] = c
	}
	if len(credentials) == 0 {
		return fail("its auths has no entry for %s", host.text)
	}
	return credentials, nil
}

// dockerHost returns the host of an auths key. Keys are hosts, or URLs as docker writes them (Docker Hub's is
// https://index.docker.io/v1/). A key for a path within a host, or with a wildcard, is for no host as a whole.
func dockerHost(key string) (string, error) {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	host, path, _ := strings.Cut(key, "/")
	switch strings.Trim(path, "/") {
	case "", "v1", "v2":
	default:
		return "", errors.New("an entry for a path")
	}
	host = canonicalHost(host)
	return host, checkHost(host, false)
}

func (a dockerAuth) credential() (credential, error) {
	if a.IdentityToken != "" || a.RegistryToken != "" {
		return credential{}, errors.New("identitytoken and registrytoken are not supported; a user name and a password are")
	}
	c := credential{a.Username, a.Password}
	if a.Auth != "" {
		b, err := base64.StdEncoding.DecodeString(a.Auth)
		username, password, ok := strings.Cut(strings.TrimRight(string(b), "\x00"), ":")
		if err != nil || !ok {
			return credential{}, errors.New("auth is not base64 of user:password")
		}
		c = credential{username, password}
	}
	return c, c.check()
}
