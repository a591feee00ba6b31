package deploy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// imageForm is an image with a tag, a digest or both, as in the grammar of github.com/distribution/reference: host and
// port, path, tag, digest. Submatch 1 is what a policy's glob is: it holds no tag, and no character that globs know.
var imageForm = regexp.MustCompile(`\A((?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?/)?` +
	`[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*)` +
	`(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?\z`)

// setImage takes the static pod's image apart.
func (s *settings) setImage() error {
	const example = "name the image as the nodes pull it, such as registry.example.com/sluice:v1.2.3"
	m := imageForm.FindStringSubmatch(s.Image)
	switch {
	case m == nil || len(s.Image) > 512:
		return &OptionError{"Image", fmt.Sprintf("%q is not an image", s.Image), example}
	case m[3] == "" && (m[2] == "" || m[2] == ":latest"):
		return &OptionError{"Image", fmt.Sprintf("%q is whatever the registry calls latest", s.Image), example}
	}
	s.ImageGlob = m[1]
	return nil
}

// namespaceForm is a DNS label (RFC 1123), which the name of a namespace is.
var namespaceForm = regexp.MustCompile(`\A[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\z`)

// setExcluded lists the namespaces that the webhooks leave out. kube-system is always one: what is there brings a cluster
// up, and with it whatever could mend a webhook that can't be reached.
func (s *settings) setExcluded(more []string) error {
	s.Excluded = []string{"kube-system"}
	for _, name := range more {
		if !namespaceForm.MatchString(name) {
			return &OptionError{
				"ExcludeNamespaces", fmt.Sprintf("%q is not the name of a namespace", name),
				"webhooks select namespaces by name; there are no patterns",
			}
		}
		if !slices.Contains(s.Excluded, name) {
			s.Excluded = append(s.Excluded, name)
		}
	}
	return nil
}

// list writes words, which hold nothing that YAML would take for anything else, as a list in brackets.
func list(words []string) (string, error) {
	quoted := make([]string, len(words))
	for i, w := range words {
		var err error
		if quoted[i], err = quoteJSON(w); err != nil {
			return "", err
		}
	}
	return "[" + strings.Join(quoted, ", ") + "]", nil
}
