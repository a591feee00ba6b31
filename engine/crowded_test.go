package engine

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestCrowded has one review name so many images that there is no time for all of them. How many is a pod's author to
// choose: what was not checked for that reason is denied, whatever onError says.
func TestCrowded(t *testing.T) {
	t.Parallel()
	// A check takes as long as it is let.
	endless := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	second := func(ctx context.Context) error {
		select {
		case <-time.After(time.Second):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	allow := func(p *Policy) { p.OnError = OnErrorAllow }
	f := func(name string, images int, pin bool, wait func(context.Context) error, want Outcome, options ...func(*Policy)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			synctest.Test(t, func(t *testing.T) {
				options = append(options, func(p *Policy) { p.Pin = true })
				ports := &facts{wait: wait, digests: map[string]Digest{}}
				req := &Request{Namespace: "default", Pin: pin}
				for i := range images {
					image := fmt.Sprintf("reg.test/app:%d", i)
					req.Images, ports.digests[image] = append(req.Images, image), Digest("sha256:"+strings.Repeat("a", 64))
				}
				e := newEngine(t, ports, NoMatchDeny, policyFor(t, "pinned", "**", options...))
				ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
				defer cancel()
				var res Result
				e.Decide(ctx, req, &res)
				said := string(res.Message())
				if res.Outcome != want || images > 16 != strings.Contains(said, "use fewer images at once") {
					t.Errorf("%s (%s), want %s: %.300s", res.Outcome, res.Reason, want, said)
				}
				synctest.Wait()
			})
		})
	}
	f("few, and an outage", 16, false, endless, Allow, allow)
	f("few, and an outage, to pin", 16, true, endless, Allow, allow)
	f("many", 64, false, second, Deny, allow)
	f("many, to pin", 64, true, second, Deny, allow)
	f("many, to be tried again", 64, false, endless, Deny, func(p *Policy) { p.OnError = OnErrorRetry })
	f("many, and a warning", 64, false, second, Allow, func(p *Policy) { p.Mode = Warn })
}
