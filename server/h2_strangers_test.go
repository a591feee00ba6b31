package server

import (
	"strings"
	"testing"
)

// TestStrangersH2 tells a caller without credentials nothing else, whatever is wrong with the request.
func TestStrangersH2(t *testing.T) {
	t.Parallel()
	token := strings.Repeat("a", 40)
	f := start(t, allowAll(), func(f *fixture, c *Config) {
		c.TLS.ClientCAFile, c.TLS.TokenFile = "", write(t, f.path("tokens"), []byte(token+"\n"))
	})
	fr, _ := f.framer(t)
	known, large := []string{"authorization", "Bearer " + token}, []string{"x", strings.Repeat("x", 80_000)}
	for i, test := range []struct {
		headers []string
		status  string
	}{
		{nil, "401"},
		{large, "401"},
		{append([]string{"authorization", "Bearer " + strings.Repeat("b", 20_000)}, large...), "401"},
		{known, "200"},
		{append(known, large...), "200"},
	} {
		id := uint32(2*i + 1)
		post(t, fr, id, test.headers...)
		if err := fr.WriteData(id, true, []byte(reviewOf("a"))); err != nil {
			t.Fatal(err)
		}
		if status, body := replied(t, fr, id); status != test.status {
			t.Errorf("%d: %s %s, want %s", i, status, body, test.status)
		}
	}
	if n := f.Stats().Unusable["malformed_http"]; n != 1 {
		t.Errorf("%d reviews were denied for what is wrong with their headers", n)
	}
}
