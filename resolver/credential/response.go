package credential

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// scope says for which other images an answer is good: for those of the same key, as the plugin's cacheKeyType says.
type scope uint8

const (
	scopeImage    scope = iota // the same repository
	scopeRegistry              // all of the same registry
	scopeGlobal                // all that the plugin is asked about
)

// response is a CredentialProviderResponse.
type response struct {
	scope    scope
	duration time.Duration // 0: not to be kept; below 0: as the configuration says
	keyring  *Keyring
}

// asConfigured is the duration of a response without one.
const asConfigured time.Duration = -1

// parseResponse reads what a plugin has written. Fields that are not known are let be: plugins may be newer. No error
// holds any of the text.
func parseResponse(text []byte, apiVersion string) (*response, error) {
	var body struct {
		Kind          string        `json:"kind"`
		APIVersion    string        `json:"apiVersion"`
		CacheKeyType  string        `json:"cacheKeyType"`
		CacheDuration *string       `json:"cacheDuration"`
		Auth          dockerEntries `json:"auth"`
	}
	switch err := json.Unmarshal(text, &body); {
	case errors.Is(err, errConfigMany):
		return nil, errConfigMany
	case err != nil:
		return nil, errors.New("its answer is not the JSON of a CredentialProviderResponse")
	case body.Kind != "CredentialProviderResponse" || body.APIVersion != apiVersion:
		return nil, fmt.Errorf("its answer is no CredentialProviderResponse of %s", apiVersion)
	}
	r := &response{duration: asConfigured, keyring: newKeyring(body.Auth.logins)}
	switch body.CacheKeyType {
	case "Image":
		r.scope = scopeImage
	case "Registry":
		r.scope = scopeRegistry
	case "Global":
		r.scope = scopeGlobal
	default:
		return nil, errors.New("the cacheKeyType of its answer is not Image, Registry or Global")
	}
	if body.CacheDuration != nil {
		duration, err := time.ParseDuration(*body.CacheDuration)
		if err != nil {
			return nil, errors.New("the cacheDuration of its answer is no duration")
		}
		r.duration = max(duration, 0)
	}
	return r, nil
}

// answer is what became of one run, for a registry and a repository.
type answer struct {
	scope                scope
	registry, repository string
	keyring              *Keyring
	failure              error // if it failed, and the keyring is nil
}

// covers tells whether what was answered is good for an image.
func (a *answer) covers(registry, repository string) bool {
	switch a.scope {
	case scopeGlobal:
		return true
	case scopeRegistry:
		return a.registry == registry
	default:
		return a.registry == registry && a.repository == repository
	}
}
