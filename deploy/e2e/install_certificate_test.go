package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"
)

// sluice cert renew, while the apiserver asks: no pod is refused, the new certificate is served, and the metrics tell when it
// ends. There is no reload and no restart.
func TestInstallCertificates(t *testing.T) {
	t.Parallel()
	s := newService(t, settings{})
	c := newCluster(t, clusterSettings{sluice: s})
	expiry := func() float64 {
		return s.metric(t, "sluice_certificate_expiry_timestamp_seconds", `certificate="server"`)
	}
	load := startLoad(t, 4, func() error { return c.dryRun(t.Context(), c.client, "default", "nginx:1.29") })
	load.more(t, 30)
	before, ended := s.served(t), expiry()
	renew := func(validity time.Duration, flags string) said {
		return sh(t, s.dir, fmt.Sprintf("%s cert renew pki/server.crt --ca-cert pki/ca.crt --ca-key pki/ca.key --validity %s %s",
			programs.sluice, validity, flags))
	}
	// As a timer does it every day: it is too early.
	file := content(t, s.file("pki/server.crt"))
	renew(0, "--within 720h").done(t)
	if content(t, s.file("pki/server.crt")) != file {
		t.Error("a certificate of a year is renewed on its first day")
	}
	for _, validity := range []time.Duration{48 * time.Hour, 96 * time.Hour} {
		renew(validity, "").done(t)
		eventually(t, func() error {
			if bytes.Equal(s.served(t), before) {
				return errors.New("the renewed certificate is not served")
			}
			return nil
		})
		if now := expiry(); now == ended || time.Until(time.Unix(int64(now), 0)) > validity {
			t.Errorf("the metrics say that it ends at %v, before the renewal %v", time.Unix(int64(now), 0), time.Unix(int64(ended), 0))
		}
		before, ended = s.served(t), expiry()
		load.more(t, 30)
	}
	// Over a connection of its own, too, which has to be made anew.
	own := c.newClient(t)
	s = s.successor(t)
	c.sluice.terminate(t)
	load.more(t, 30)
	must(t, c.dryRun(t.Context(), own, "default", "nginx:1.30"))
	load.flawless(t)
	t.Logf("%d pods, none refused", load.done.Load())
	s.lives(t)
}
