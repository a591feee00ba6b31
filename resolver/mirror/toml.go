package mirror

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// table is what a hosts.toml may say of one server. Other keys are skipped, as containerd does.
type table struct {
	Capabilities []string       `toml:"capabilities"`
	CA           any            `toml:"ca"`     // a path, or several
	Client       any            `toml:"client"` // a path, several, or pairs of paths
	SkipVerify   *bool          `toml:"skip_verify"`
	Header       map[string]any `toml:"header"` // a string, or several
	OverridePath bool           `toml:"override_path"`
	DialTimeout  string         `toml:"dial_timeout"`
}

// parse reads a hosts.toml of dir. Its errors continue the file's name.
func parse(dir string, b []byte) ([]Host, error) {
	var doc struct {
		table
		Server string           `toml:"server"`
		Host   map[string]table `toml:"host"`
	}
	names := inOrder(b)
	if len(names) >= MaxHosts {
		return nil, fmt.Errorf(": it names more than %d hosts", MaxHosts-1)
	}
	if err := toml.Unmarshal(b, &doc); err != nil {
		if at := (*toml.DecodeError)(nil); errors.As(err, &at) {
			line, column := at.Position()
			return nil, fmt.Errorf(":%d:%d: %w", line, column, err)
		}
		return nil, fmt.Errorf(": %w", err)
	}
	hosts := make([]Host, 0, len(names)+1)
	for _, name := range names {
		h, err := doc.Host[name].host(dir, name)
		if err != nil {
			return nil, fmt.Errorf(": [host.%.200q]: %w", name, err)
		}
		hosts = append(hosts, h)
	}
	last, err := doc.host(dir, doc.Server)
	if err != nil {
		return nil, fmt.Errorf(": %w", err)
	}
	return append(hosts, last), nil
}

// inOrder returns the names of the tables [host."…"] as they follow one another. A table below one of them stands for
// it, too, if it comes first. What is written otherwise, such as an inline table, has no order and is not seen, neither
// here nor by containerd.
func inOrder(b []byte) []string {
	var (
		p     unstable.Parser
		names []string
		last  string
	)
	p.Reset(b)
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind != unstable.Table {
			continue
		}
		var parts []string
		for key := e.Key(); key.Next(); {
			parts = append(parts, string(key.Node().Data))
		}
		if len(parts) < 2 || parts[0] != "host" || parts[1] == last {
			continue
		}
		if len(names) == MaxHosts { // too many already
			return names
		}
		last = parts[1]
		names = append(names, last)
	}
	return names
}

// host makes a Host of a table and the address that it is for, which may be empty for the registry's own.
func (t table) host(dir, address string) (Host, error) {
	var h Host
	if err := h.locate(address, t.OverridePath); err != nil {
		return Host{}, err
	}
	var err error
	if h.Capabilities, err = capabilities(t.Capabilities); err != nil {
		return Host{}, err
	}
	if h.Own() {
		h.Capabilities = all // as containerd has it: what the file says counts for a server that it names
	}
	absolute := func(p string) string {
		if filepath.IsAbs(p) {
			return p
		}
		return filepath.Join(dir, p)
	}
	if h.CAFiles, err = paths(t.CA, absolute); err != nil {
		return Host{}, fmt.Errorf("ca: %w", err)
	}
	if h.ClientPairs, err = pairs(t.Client, absolute); err != nil {
		return Host{}, fmt.Errorf("client: %w", err)
	}
	if len(h.CAFiles)+len(h.ClientPairs) > maxCertificates {
		return Host{}, fmt.Errorf("more than %d certificates", maxCertificates)
	}
	h.TLS = t.CA != nil || h.ClientPairs != nil || t.SkipVerify != nil
	h.SkipVerify = t.SkipVerify != nil && *t.SkipVerify
	if h.Header, err = header(t.Header); err != nil {
		return Host{}, err
	}
	if t.DialTimeout != "" {
		if h.DialTimeout, err = time.ParseDuration(t.DialTimeout); err != nil {
			return Host{}, fmt.Errorf("dial_timeout: %w", err)
		}
		if h.DialTimeout < 0 {
			return Host{}, errors.New("dial_timeout is negative")
		}
	}
	return h, nil
}

// locate reads an address. /v2 is added to its path unless that ends with it, or override says that it is complete.
func (h *Host) locate(address string, override bool) error {
	if address == "" {
		h.Path = "/v2"
		return nil
	}
	if !strings.HasPrefix(address, "http") { // containerd's own test
		address = "https://" + address
	}
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return fmt.Errorf("%.200q is no address", address) // the error could repeat a password
	case u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("%.200q is neither https nor http", u.Redacted())
	case u.Host == "" || u.Hostname() == "":
		return fmt.Errorf("%.200q has no host", u.Redacted())
	case u.User != nil:
		return errors.New("the address has a user name in it, which is never sent: say it by a header")
	}
	h.Scheme, h.Host = u.Scheme, u.Host
	if u.Path != "" {
		h.Path = path.Clean(u.Path)
		if !strings.HasSuffix(h.Path, "/v2") && !override {
			h.Path = path.Join(h.Path, "v2")
		}
	} else if !override {
		h.Path = "/v2"
	}
	if h.Path == "/" {
		h.Path = ""
	}
	return nil
}

func capabilities(names []string) (Capabilities, error) {
	if len(names) == 0 {
		return all, nil
	}
	var c Capabilities
	for _, name := range names {
		switch strings.ToLower(name) {
		case "pull":
			c |= Pull
		case "resolve":
			c |= Resolve
		case "push":
			c |= Push
		case "referrers":
			c |= Referrers
		default:
			return 0, fmt.Errorf("capabilities: %.40q is none; there are pull, resolve, push and referrers", name)
		}
	}
	return c, nil
}

// paths reads a path, or a list of them.
func paths(v any, absolute func(string) string) ([]string, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{absolute(v)}, nil
	case []any:
		return texts(v, absolute)
	}
	return nil, errors.New("it is neither a path nor a list of paths")
}

// pairs reads a path, a list of paths, or a list of pairs of paths.
func pairs(v any, absolute func(string) string) ([]ClientPair, error) {
	var list []any
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		list = []any{v}
	case []any:
		list = v
	default:
		return nil, errors.New("it is neither a path nor a list of paths or pairs")
	}
	var all []ClientPair
	for _, one := range list {
		switch one := one.(type) {
		case string:
			all = append(all, ClientPair{Certificate: absolute(one)})
		case []any:
			pair, err := texts(one, nil)
			if err != nil || len(pair) != 2 {
				return nil, errors.New("a pair is the path of a certificate and that of its key")
			}
			p := ClientPair{Certificate: absolute(pair[0])}
			if pair[1] != "" {
				p.Key = absolute(pair[1])
			}
			all = append(all, p)
		default:
			return nil, errors.New("it is neither a path nor a list of paths or pairs")
		}
	}
	return all, nil
}

// header reads the headers. Errors never hold a value, which may be a secret.
func header(values map[string]any) (map[string][]string, error) {
	if values == nil {
		return nil, nil
	}
	h := make(map[string][]string, len(values))
	for key, v := range values {
		var err error
		switch v := v.(type) {
		case string:
			h[key] = []string{v}
		case []any:
			h[key], err = texts(v, nil)
		default:
			err = errors.New("it is neither a text nor a list of texts")
		}
		if err == nil {
			err = checkHeader(key, h[key])
		}
		if err != nil {
			return nil, fmt.Errorf("header %.100q: %w", key, err)
		}
	}
	return h, nil
}

// checkHeader refuses what no request can carry (RFC 9110 section 5).
func checkHeader(key string, values []string) error {
	const token = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	if key == "" || strings.Trim(key, token) != "" {
		return errors.New("it is no name of a header")
	}
	for _, v := range values {
		for i := range len(v) {
			if v[i] < ' ' && v[i] != '\t' || v[i] == 0x7f {
				return errors.New("its value has a character that no header can carry")
			}
		}
	}
	return nil
}

func texts(list []any, change func(string) string) ([]string, error) {
	all := make([]string, len(list))
	for i, v := range list {
		s, ok := v.(string)
		if !ok {
			return nil, errors.New("something in the list is no text")
		}
		if change != nil {
			s = change(s)
		}
		all[i] = s
	}
	return all, nil
}
