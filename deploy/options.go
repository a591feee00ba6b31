package deploy

import (
	"fmt"
	"net"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"sluice/deploy/pki"
)

// The defaults of [Options], and what the ImagePolicyWebhook plugin accepts (plugin/pkg/admission/imagepolicy,
// config.go).
const (
	DefaultPath         = "/v1/imagereview"
	DefaultMount        = "/etc/kubernetes/sluice"
	DefaultClientName   = "kube-apiserver"
	DefaultImage        = "registry.example.com/sluice:v1" // nobody's: whoever runs the static pod says where theirs is
	DefaultAllowTTL     = 30                               // seconds
	DefaultDenyTTL      = 10                               // seconds
	DefaultRetryBackoff = 500                              // milliseconds

	MaxTTL          = 1800   // seconds
	MaxRetryBackoff = 300000 // milliseconds
)

// ServiceDir is where the service's part of the bundle stands on a machine that runs it, as a static pod or under systemd.
const ServiceDir = "/etc/sluice"

// podUser is the user that the static pod runs as: the one that images call nonroot, and that nobody on a machine is.
const podUser = 65532

// Options are the choices of an installation. Only Server is required.
type Options struct {
	// Server is the URL under which the apiserver reaches the service: https, a host, and where they differ from 443
	// and [DefaultPath] a port and a path. The service listens on the URL's port.
	Server string

	// Mount is the directory of the control-plane machine, absolute, that holds the apiserver's part of the bundle.
	// It is mounted under the same path into the apiserver, so the paths in the apiserver's files begin with it.
	Mount string

	Hosts      []string // further DNS names and IP addresses of the service, beside the URL's
	ClientName string   // the common name of the apiserver's certificate

	Image             string   // of the static pod, with a tag or a digest
	ExcludeNamespaces []string // what the webhooks are not asked about, beside kube-system

	// What the plugin does with answers and without them. 0 is the default; there is no way to say "for ever".
	DefaultAllow bool // allow every image while the service cannot be reached
	AllowTTL     int  // seconds that the plugin remembers that a pod was allowed, 1 to MaxTTL
	DenyTTL      int  // seconds that the plugin remembers that a pod was denied, 1 to MaxTTL
	RetryBackoff int  // milliseconds before the plugin's first retry, 1 to MaxRetryBackoff

	// CA issues the certificates; nil makes one. The key of a CA that is given does not become part of the bundle.
	CA *pki.CA
}

// OptionError says which of the [Options] cannot be used, and why.
type OptionError struct {
	Option  string // the field's name, such as Server
	Problem string // one clause
	Remedy  string // what to do instead; may be empty
}

// Error returns the option and the problem.
func (e *OptionError) Error() string { return e.Option + ": " + e.Problem }

// Hint returns what to do instead, for people; it may be empty.
func (e *OptionError) Hint() string { return e.Remedy }

// settings are options with defaults filled in, checked, and taken apart as the templates need them.
type settings struct {
	URL          string // with a path
	FurtherPath  string // the URL's, decoded, if the service does not answer there anyway
	Host         string // the URL's, without port and brackets
	Listen       string
	Origin       string // the URL without its path, where the doors for AdmissionReview are
	Mount        string
	Hosts        []string // every SAN, the URL's first
	Image        string
	ImageGlob    string   // its repository, as policies name it
	Excluded     []string // namespaces, kube-system first
	LowPort      bool     // listening takes a right that others than root have to be given
	User         int      // that the static pod runs as, and that the server's key belongs to
	ServiceDir   string
	ClientName   string
	DefaultAllow bool
	AllowTTL     int
	DenyTTL      int
	RetryBackoff int
}

func (o Options) settle() (settings, error) {
	s := settings{
		Mount:        orDefault(o.Mount, DefaultMount),
		ClientName:   orDefault(o.ClientName, DefaultClientName),
		DefaultAllow: o.DefaultAllow,
		AllowTTL:     orDefault(o.AllowTTL, DefaultAllowTTL),
		DenyTTL:      orDefault(o.DenyTTL, DefaultDenyTTL),
		RetryBackoff: orDefault(o.RetryBackoff, DefaultRetryBackoff),
		Image:        orDefault(o.Image, DefaultImage),
		ServiceDir:   ServiceDir,
	}
	if err := s.setServer(o.Server, len(o.Hosts) == 0); err != nil {
		return s, err
	}
	s.Hosts = append([]string{s.Host}, o.Hosts...)
	for _, host := range o.Hosts {
		if err := pki.CheckHost(host); err != nil {
			return s, &OptionError{
				"Hosts", err.Error(),
				"give DNS names and IP addresses alone, such as sluice.example.com or 192.0.2.10",
			}
		}
	}
	if err := checkMount(s.Mount); err != nil {
		return s, err
	}
	if err := pki.CheckClientName(s.ClientName); err != nil {
		return s, &OptionError{"ClientName", err.Error(), "the default is " + DefaultClientName}
	}
	if err := s.setImage(); err != nil {
		return s, err
	}
	if err := s.setExcluded(o.ExcludeNamespaces); err != nil {
		return s, err
	}
	for _, n := range []struct {
		option     string
		value, max int
		unit       string
	}{
		{"AllowTTL", s.AllowTTL, MaxTTL, "seconds"},
		{"DenyTTL", s.DenyTTL, MaxTTL, "seconds"},
		{"RetryBackoff", s.RetryBackoff, MaxRetryBackoff, "milliseconds"},
	} {
		if n.value < 1 || n.value > n.max {
			return s, &OptionError{
				n.option, fmt.Sprintf("%d is not between 1 and %d", n.value, n.max),
				fmt.Sprintf("give whole %s; the apiserver does not start with anything else", n.unit),
			}
		}
	}
	return s, nil
}

// setServer takes the URL apart. alone tells that the service has no other name than the URL's.
func (s *settings) setServer(raw string, alone bool) error {
	refuse := func(problem, hint string) error { return &OptionError{"Server", problem, hint} }
	const (
		example  = "give the URL under which the apiserver reaches the service, such as https://sluice.example.com:8443"
		brackets = "an IPv6 address stands in brackets, such as https://[2001:db8::1]:8443"
	)
	if raw == "" {
		return refuse("there is no server URL", example)
	}
	if rest, ok := cutScheme(raw, "http"); ok {
		return refuse("the apiserver speaks to a policy backend over TLS only", "write https://"+rest)
	}
	rest, ok := cutScheme(raw, "https")
	if !ok {
		hint := example
		if !strings.Contains(raw, "://") && !strings.HasPrefix(raw, "/") {
			hint = "write https://" + raw
		}
		return refuse(fmt.Sprintf("%q is not an https URL", raw), hint)
	}
	u, err := url.Parse("https://" + rest)
	switch {
	case err != nil && strings.Count(rest, ":") > 1 && !strings.Contains(rest, "["):
		return refuse(fmt.Sprintf("%q is not a URL", raw), brackets)
	case err != nil:
		return refuse(fmt.Sprintf("%q is not a URL", raw), example)
	case u.Hostname() == "":
		return refuse(fmt.Sprintf("%q has no host", raw), example)
	case u.User != nil:
		return refuse("a URL with a user name or password is of no use", "the apiserver's client certificate says who it is")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return refuse("the apiserver drops what stands after ? or # in the URL", "leave it out")
	case strings.Count(u.Host, ":") > 1 && !strings.HasPrefix(u.Host, "["):
		return refuse(fmt.Sprintf("%q has more than one port", raw), brackets)
	}
	s.Host = u.Hostname()
	if err := pki.CheckHost(s.Host); err != nil || strings.HasPrefix(s.Host, "*") {
		return refuse(fmt.Sprintf("%q is neither a DNS name nor an IP address", s.Host), example)
	}
	ip := net.ParseIP(s.Host)
	if ip.IsUnspecified() || ip.IsMulticast() {
		return refuse(s.Host+" is no address that anything can be reached at", "give an address of the machine that the service runs on")
	}
	port := u.Port()
	if port == "" {
		if strings.HasSuffix(u.Host, ":") {
			return refuse(fmt.Sprintf("%q has a colon and no port", raw), "write https://host:8443 or leave the colon out")
		}
		port = "443"
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return refuse(port+" is not a port", "a port is a number from 1 to 65535")
	}
	// Without a user namespace, a container's added capability reaches a process of root only (no ambient set).
	if s.LowPort = n < 1024; !s.LowPort {
		s.User = podUser
	}
	s.Origin = "https://" + u.Host
	if u.Path == "" || u.Path == "/" {
		u.Path = DefaultPath
	}
	if clean := path.Clean(u.Path); clean != u.Path {
		return refuse(fmt.Sprintf("the apiserver would not keep the path %q", u.Path), fmt.Sprintf("write it as %q", clean))
	}
	if strings.ContainsFunc(u.Path, func(r rune) bool { return !unicode.IsPrint(r) }) || !utf8.ValidString(u.Path) {
		return refuse(fmt.Sprintf("the path %q holds characters that cannot be printed", u.Path), "leave them out")
	}
	s.URL = u.String()
	if !slices.Contains([]string{DefaultPath, "/policy", "/image_policy"}, u.Path) {
		s.FurtherPath = u.Path
	}
	s.Listen = net.JoinHostPort(listenHost(s.Host, ip, alone), port)
	return nil
}

// cutScheme takes "scheme://" off, whatever its case.
func cutScheme(raw, scheme string) (rest string, ok bool) {
	n := len(scheme) + len("://")
	if len(raw) < n || !strings.EqualFold(raw[:n], scheme+"://") {
		return raw, false
	}
	return raw[n:], true
}

// listenHost is every address of the machine, unless the service is to be reached from the machine alone.
func listenHost(host string, ip net.IP, alone bool) string {
	switch {
	case alone && ip.IsLoopback():
		return host
	case alone && strings.EqualFold(host, "localhost"):
		return "127.0.0.1"
	case ip != nil && ip.To4() == nil:
		return "::" // IPv4 too, where the system has both
	}
	return "0.0.0.0"
}

func checkMount(mount string) error {
	refuse := func(problem string) error {
		return &OptionError{"Mount", fmt.Sprintf("%q %s", mount, problem), "give an absolute path, such as " + DefaultMount}
	}
	switch {
	case !path.IsAbs(mount):
		return refuse("is not absolute: the apiserver would look for it in the directory it was started in")
	case mount == "/":
		return refuse("is the whole machine")
	case path.Clean(mount) != mount:
		return refuse("is not the shortest way to write the path: that is " + strconv.Quote(path.Clean(mount)))
	case strings.Contains(mount, ":"):
		return refuse("holds a colon, which a mountPath must not")
	case !utf8.ValidString(mount) || strings.ContainsFunc(mount, func(r rune) bool { return !unicode.IsPrint(r) }):
		return refuse("holds characters that cannot be printed")
	}
	return nil
}

// warnings names what is allowed and probably not meant, one sentence each.
func (s *settings) warnings() []string {
	var w []string
	if s.DefaultAllow {
		w = append(w, "defaultAllow is true: while the service cannot be reached, every image is allowed.")
	}
	if labels := strings.Split(strings.ToLower(s.Host), "."); len(labels) > 2 && labels[2] == "svc" {
		w = append(w, s.Host+" is a name of the cluster's own DNS, which kube-apiserver does not ask: "+
			"use an address or a name that its machine resolves.")
	}
	if ip := net.ParseIP(s.Host); ip.IsLoopback() || strings.EqualFold(s.Host, "localhost") {
		w = append(w, s.Host+" reaches the service from its own machine alone: "+
			"every control-plane machine needs a service of its own.")
	}
	return w
}

// orDefault is v, or byDefault if v is the zero value.
func orDefault[T comparable](v, byDefault T) T {
	var zero T
	if v == zero {
		return byDefault
	}
	return v
}
