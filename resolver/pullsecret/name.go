package pullsecret

import (
	"slices"
	"strings"
)

// maxNames is how many secrets are read for one pod.
const maxNames = 32

// few is how many names a key holds without an allocation. Pods have one or two.
const few = 4

// key says whose secrets these are. Pods with equal keys have equal secrets.
type key struct {
	namespace string
	account   string // the service account whose secrets count; empty if the pod names its own
	few       [few]string
	more      string // further names, with slashes in between
}

// keyOf makes the key of a pod. Names that are none are left out, as are those after the first maxNames: nothing has
// them. It is false if there can be no secrets at all. The strings are borrowed, and so nothing is allocated but for what
// is more than a few.
func keyOf(namespace, account string, names []string) (key, bool) {
	switch {
	case !isLabel(namespace):
		return key{}, false
	case len(names) > 0:
		return ownKey(namespace, names)
	case account == "":
		account = "default"
	}
	// The service account's count for pods without any: they are copied when the pod is made (Admit in the API server's
	// plugin/pkg/admission/serviceaccount), which is later than this may be asked, and always so for a pod's template.
	return key{namespace: namespace, account: account}, isSubdomain(account)
}

// ownKey makes the key of a pod that names its own secrets.
func ownKey(namespace string, names []string) (key, bool) {
	k, n := key{namespace: namespace}, 0
	for i, name := range names[:min(len(names), maxNames)] {
		if !isSubdomain(name) || slices.Contains(names[:i], name) {
			continue
		}
		switch {
		case n < few:
			k.few[n] = name
		case n == few:
			k.more = name
		default:
			k.more += "/" + name
		}
		n++
	}
	return k, n > 0
}

// names returns those of the pod.
func (k *key) names() []string {
	var all []string
	for _, name := range k.few {
		if name != "" {
			all = append(all, name)
		}
	}
	if k.more != "" {
		all = append(all, strings.Split(k.more, "/")...)
	}
	return all
}

// clone returns a key that holds nothing borrowed.
func (k *key) clone() key {
	own := key{strings.Clone(k.namespace), strings.Clone(k.account), k.few, strings.Clone(k.more)}
	for i := range own.few {
		own.few[i] = strings.Clone(own.few[i])
	}
	return own
}

// size is about how many bytes a key's strings take.
func (k *key) size() int {
	n := len(k.namespace) + len(k.account) + len(k.more)
	for _, name := range k.few {
		n += len(name)
	}
	return n
}

// isLabel checks the name of a namespace (RFC 1123, and k8s.io/apimachinery's IsDNS1123Label).
func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// isSubdomain checks the name of a secret or a service account (IsDNS1123Subdomain: its labels may be long).
func isSubdomain(s string) bool {
	if len(s) > 253 {
		return false
	}
	before := byte('.')
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
		case c == '-' && before != '.':
		case c == '.' && before != '.' && before != '-':
		default:
			return false
		}
		before = c
	}
	return before != '.' && before != '-'
}
