package telemetry

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestReporter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		r := &reporter{
			what: "exporting",
			logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
				ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
					if a.Key == slog.TimeKey {
						return slog.Attr{}
					}
					return a
				},
			})),
		}
		f := func(err error, want string) {
			t.Helper()
			log.Reset()
			r.done(context.Background(), err)
			if got := strings.TrimSuffix(log.String(), "\n"); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		}
		f(nil, "")
		f(errors.New("one"), `level=WARN msg="telemetry fails" what=exporting error=one suppressed=0`)
		f(errors.New("two"), "")
		f(nil, `level=INFO msg="telemetry works again" what=exporting`)
		// A collector that comes and goes does not get a record each time.
		f(errors.New("three"), "")
		f(nil, "")
		time.Sleep(reportEvery)
		f(errors.New("four"), `level=WARN msg="telemetry fails" what=exporting error=four suppressed=2`)
		time.Sleep(reportEvery)
		f(errors.New("x"+strings.Repeat("é", 400)),
			`level=WARN msg="telemetry fails" what=exporting error=x`+strings.Repeat("é", 255)+`… suppressed=0`)
	})
}
