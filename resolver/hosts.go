package resolver

import (
	"errors"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"sluice/engine"
)

// canonicalHost returns a registry's host as everything here compares it. Docker Hub has three names.
func canonicalHost(host string) string {
	host = strings.ToLower(host)
	switch host {
	case "docker.io", "registry-1.docker.io":
		return engine.DockerHub
	}
	return host
}

// hostPattern matches host[:port] as it stands in image references. * is one or more characters of one label.
type hostPattern struct {
	text  string
	exact bool
	re    *regexp.Regexp // linear in the input, whatever the pattern
}

func parseHostPattern(s string) (hostPattern, error) {
	text := canonicalHost(s)
	if err := checkHost(text, true); err != nil {
		return hostPattern{}, err
	}
	quoted := strings.ReplaceAll(regexp.QuoteMeta(text), `\*`, `[a-z0-9_-]+`)
	re, err := regexp.Compile(`\A` + quoted + `\z`)
	if err != nil {
		return hostPattern{}, errors.New("the pattern is too long")
	}
	return hostPattern{text: text, exact: !strings.Contains(text, "*"), re: re}, nil
}

func (p hostPattern) match(host string) bool {
	if p.exact {
		return host == p.text
	}
	return p.re.MatchString(host)
}

func anyMatch(patterns []hostPattern, host string) bool {
	for i := range patterns {
		if patterns[i].match(host) {
			return true
		}
	}
	return false
}

// checkHost checks host[:port]: no scheme, no path, no user.
func checkHost(s string, glob bool) error {
	if s == "" {
		return errors.New("it is empty")
	}
	if strings.Contains(s, "://") {
		return errors.New("write host or host:port, without a scheme")
	}
	if strings.Contains(s, "/") {
		return errors.New("write host or host:port, without a path")
	}
	host := s
	if strings.HasPrefix(s, "[") || strings.Contains(s, ":") {
		at := strings.LastIndexByte(s, ':')
		if at > strings.LastIndexByte(s, ']') {
			port, err := strconv.ParseUint(s[at+1:], 10, 16)
			if err != nil || port == 0 {
				return errors.New("what follows the last : is no port")
			}
			host = s[:at]
		}
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		if ip := net.ParseIP(inner); !ok || ip == nil || !strings.Contains(inner, ":") {
			return errors.New("what stands in brackets is no IPv6 address")
		}
		return nil
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" {
			return errors.New("a host's labels are separated by single dots")
		}
		for i := range len(label) {
			c := label[i]
			switch {
			case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			case c == '*' && glob:
			case c == '*':
				return errors.New("a host of its own is needed here, not a pattern")
			default:
				return errors.New("a host is letters, digits, dots and dashes")
			}
		}
		if strings.Contains(label, "**") {
			return errors.New("* stands for one label or a part of it; ** has no meaning here")
		}
	}
	return nil
}

// hostOf returns where a URL leads, written as a host is in the configuration: without the port that its scheme implies.
func hostOf(u *url.URL) string {
	host := u.Host
	if port := u.Port(); port != "" && port == defaultPort(u.Scheme) {
		host = strings.TrimSuffix(host, ":"+port)
	}
	return canonicalHost(host)
}

// hostPort returns where a URL leads, always with a port.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = defaultPort(u.Scheme)
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

func defaultPort(scheme string) string {
	if scheme == "http" {
		return "80"
	}
	return "443"
}
