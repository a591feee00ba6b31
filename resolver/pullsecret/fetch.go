package pullsecret

import (
	"context"
	"errors"
	"fmt"

	"sluice/engine"
	"sluice/resolver/credential"
)

// Limits of all secrets of one pod: in bytes, and in logins. Each login is looked at for each thing that is asked of a
// registry.
const (
	maxPod    = 2 << 20
	maxLogins = 1024
)

// found is what there is for a key.
type found struct {
	access *engine.Access // nil without credentials
	size   int            // bytes, about
	sparse bool           // something that was named is missing or no use, and may come
}

// fetch reads the secrets of a key, one after the other: pods have one or two. What is missing, no use, or not for this
// service account to see is left out, as the kubelet does it. An error tells what could not be asked, and then nothing
// more is asked; what was found before is returned with it.
func (s *Secrets) fetch(ctx context.Context, k *key) (found, error) {
	names, f := k.names(), found{}
	if k.account != "" {
		var account struct {
			ImagePullSecrets []struct {
				Name string `json:"name"`
			} `json:"imagePullSecrets"`
		}
		err := s.client.get(ctx, "/api/v1/namespaces/"+k.namespace+"/serviceaccounts/"+k.account, &account)
		switch {
		case errors.Is(err, errNotFound):
			return found{sparse: true}, nil
		case errors.Is(err, errForbidden):
			s.say(ctx, "serviceaccounts", k.namespace, k.account, err)
			return found{sparse: true}, nil
		case err != nil:
			s.say(ctx, "serviceaccounts", k.namespace, k.account, err)
			return found{}, err
		}
		for _, secret := range account.ImagePullSecrets {
			names = append(names, secret.Name)
		}
		own, _ := ownKey(k.namespace, names) // checks them
		names = own.names()
	}
	var keyrings []*credential.Keyring
	var failure error
	total, logins := 0, 0
	for _, name := range names {
		keyring, size, err := s.keyring(ctx, k.namespace, name)
		total, logins = total+size, logins+keyring.Len()
		if err == nil && (total > maxPod || logins > maxLogins) {
			err = errTooMuch
		}
		if err == nil {
			keyrings = append(keyrings, keyring)
			continue
		}
		f.sparse = true
		if errors.Is(err, errNotFound) {
			continue // it may come after its pod: nobody wants to read of that
		}
		s.say(ctx, "secrets", k.namespace, name, err)
		if errors.Is(err, errUnusable) {
			s.unusable.Add(1)
			if errors.Is(err, errTooMuch) {
				break // nothing more is read in vain
			}
			continue
		}
		if errors.Is(err, errForbidden) {
			continue
		}
		failure = err
		break // of an API server that does not answer, not much is asked
	}
	all := credential.Merge(keyrings...)
	if all.Len() > 0 {
		f.access = &engine.Access{ID: all.ID(), Logins: all.Logins}
		f.size = all.Size()
	}
	return f, failure
}

// errUnusable is what is wrong with a secret, and not with the asking for it; errTooMuch, with all that were read.
var (
	errUnusable = errors.New("not a pull secret that can be used")
	errTooMuch  = fmt.Errorf("%w: those of its pod are longer than 2 MiB together, or have more than 1024 logins", errUnusable)
)

// keyring reads one secret. size is that of its data, in bytes.
func (s *Secrets) keyring(ctx context.Context, namespace, name string) (k *credential.Keyring, size int, err error) {
	var secret struct {
		Type string `json:"type"`
		Data struct {
			DockerConfigJSON []byte `json:".dockerconfigjson"`
			Dockercfg        []byte `json:".dockercfg"`
		} `json:"data"`
	}
	if err := s.client.get(ctx, "/api/v1/namespaces/"+namespace+"/secrets/"+name, &secret); err != nil {
		return nil, 0, err
	}
	var data []byte
	parse := credential.ParseDockerConfig
	switch secret.Type {
	case "kubernetes.io/dockerconfigjson":
		data = secret.Data.DockerConfigJSON
	case "kubernetes.io/dockercfg":
		data, parse = secret.Data.Dockercfg, credential.ParseDockercfg
	default:
		return nil, 0, fmt.Errorf("%w: its type is neither kubernetes.io/dockerconfigjson nor kubernetes.io/dockercfg", errUnusable)
	}
	if len(data) == 0 {
		return nil, 0, fmt.Errorf("%w: it is empty", errUnusable)
	}
	k, err = parse(data)
	if err != nil {
		return nil, len(data), fmt.Errorf("%w: %w", errUnusable, err)
	}
	return k, len(data), nil
}
