package credential

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"

	"sluice/engine"
)

// Limits of one docker configuration file. The first is the API server's limit of a secret.
const (
	maxDockerConfig = 1 << 20
	maxEntries      = 1024
)

// The errors never hold what was read, which is secret, nor the JSON decoder's errors, which quote it.
var (
	errConfigLong = errors.New("it is longer than 1 MiB")
	errConfigJSON = errors.New("it is not the JSON of a docker configuration, or an auth in it is not base64 of user:password")
	errConfigMany = errors.New("it has more than 1024 entries")
)

// ParseDockerConfig reads the content of a docker config.json, the key .dockerconfigjson of a secret: its auths. What
// else is in it, credHelpers and credsStore among it, is not looked at, and nothing is run.
func ParseDockerConfig(data []byte) (*Keyring, error) {
	var config struct {
		Auths dockerEntries `json:"auths"`
	}
	return parseDocker(data, &config, &config.Auths)
}

// ParseDockercfg reads the content of a .dockercfg, the form before that: auths without the name.
func ParseDockercfg(data []byte) (*Keyring, error) {
	var entries dockerEntries
	return parseDocker(data, &entries, &entries)
}

func parseDocker(data []byte, into any, entries *dockerEntries) (*Keyring, error) {
	if len(data) > maxDockerConfig {
		return nil, errConfigLong
	}
	switch err := json.Unmarshal(data, into); {
	case errors.Is(err, errConfigMany):
		return nil, errConfigMany
	case err != nil:
		return nil, errConfigJSON
	}
	return newKeyring(entries.logins), nil
}

// dockerEntries are the logins by what they are for.
type dockerEntries struct {
	logins map[string]engine.Login
	read   int
}

// UnmarshalJSON reads one entry after the other, so that one too many is the last one that is read.
func (d *dockerEntries) UnmarshalJSON(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	switch open, err := dec.Token(); {
	case err != nil:
		return err
	case open == nil: // null
		return nil
	case open != json.Delim('{'):
		return errConfigJSON
	}
	if d.logins == nil {
		d.logins = map[string]engine.Login{}
	}
	for dec.More() {
		if d.read++; d.read > maxEntries {
			return errConfigMany
		}
		name, err := dec.Token()
		if err != nil {
			return err
		}
		var e dockerEntry
		if err := dec.Decode(&e); err != nil {
			return err
		}
		login, err := e.login()
		if err != nil {
			return err
		}
		d.logins[name.(string)] = login // the decoder lets no other key of an object pass
	}
	return nil
}

// dockerEntry is what of an entry the kubelet reads. Identity tokens are not among it.
type dockerEntry struct {
	Username string `json:"username"`
	Password string `json:"password"`
	Auth     string `json:"auth"` // base64 of user:password, with or without padding; before the other two
}

func (e dockerEntry) login() (engine.Login, error) {
	if e.Auth == "" {
		return engine.NewLogin(e.Username, e.Password), nil
	}
	encoding := base64.RawStdEncoding
	if strings.HasSuffix(strings.TrimSpace(e.Auth), "=") {
		encoding = base64.StdEncoding
	}
	decoded, err := encoding.DecodeString(e.Auth)
	if err != nil {
		return engine.Login{}, errConfigJSON
	}
	username, password, ok := strings.Cut(string(decoded), ":")
	if !ok {
		return engine.Login{}, errConfigJSON
	}
	return engine.NewLogin(username, password), nil
}
