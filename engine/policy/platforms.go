package policy

import (
	"strings"

	"sluice/engine"
	"sluice/engine/policy/strictyaml"
)

// maxPlatforms bounds the platforms that a policy names: each may cost a verification.
const maxPlatforms = 32

const platformPattern = `^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9.]+)?$`

// The words for platforms that are no platforms.
const (
	platformsIndex   = "index"
	platformsOrEvery = "index-or-every-platform"
)

// platforms compiles which manifests of an index are to be signed.
func (c *compiler) platforms(list []string, authorities bool) engine.Platforms {
	const path = "$.spec.platforms"
	if !c.doc.Has(path) {
		return engine.Platforms{}
	}
	if !authorities && len(c.errs) == 0 {
		c.errs = append(c.errs, c.doc.KeyErrorf(path, "platforms says what authorities must have signed, and there are none"))
	}
	paths := c.items(path, len(list))
	switch {
	case len(list) == 0:
		c.fail(path, "the list is empty; name a platform, or leave platforms out if the index is what is signed")
		return engine.Platforms{}
	case len(list) > maxPlatforms:
		c.fail(path, "there are at most %d platforms", maxPlatforms)
		return engine.Platforms{}
	case paths[0] == path: // no list
		return c.platformsWord(path, list[0])
	}
	seen := map[string]string{}
	for i, platform := range list {
		switch {
		case platform == platformsIndex, platform == platformsOrEvery:
			c.fail(paths[i], "this is no platform; write platforms: %s without a list", platform)
		case !matches(platformPattern, platform):
			c.fail(paths[i], "a platform is os/architecture or os/architecture/variant, such as linux/amd64 or linux/arm64/v8")
		case usual(platform) != platform:
			c.fail(paths[i], "in an index this platform is called %s", usual(platform))
		default:
			c.twice(seen, platform, paths[i], "this platform is there already, on line %d")
		}
	}
	return engine.Platforms{List: list}
}

func (c *compiler) platformsWord(path, word string) engine.Platforms {
	words := []string{platformsIndex, platformsOrEvery}
	switch word {
	case platformsIndex:
		return engine.Platforms{}
	case platformsOrEvery:
		return engine.Platforms{OrEvery: true}
	}
	if strings.Contains(word, "/") {
		c.fail(path, "platforms are a list; write [%s]", word)
	} else if near := strictyaml.Nearest(word, words); near != "" {
		c.fail(path, "must be %s or %s, or a list of platforms; did you mean %q?", words[0], words[1], near)
	} else {
		c.fail(path, "must be %s or %s, or a list of platforms such as [linux/amd64, linux/arm64]", words[0], words[1])
	}
	return engine.Platforms{}
}

// usual replaces the names that other tools give to architectures by those of an index (GOARCH, by the OCI image
// specification).
func usual(platform string) string {
	parts := strings.Split(platform, "/")
	switch parts[1] {
	case "x86_64":
		parts[1] = "amd64"
	case "aarch64":
		parts[1] = "arm64"
	case "i386", "i686":
		parts[1] = "386"
	case "armhf":
		parts[1] = "arm"
	}
	return strings.Join(parts, "/")
}
