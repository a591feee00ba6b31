package main

import (
	"errors"
	"flag"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes this binary be sluice-bench where it is called by that name, which is how scripts run it.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sluice-bench": main})
}

var update = flag.Bool("update", false, "write what was got over what was expected, in scripts and golden files")

// TestScripts runs the command line as people do.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			// A process that was built with the race detector ends when it ends, and not a second later.
			env.Vars = append(env.Vars, "GORACE=atexit_sleep_ms=0")
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": scriptExits, "webhook": scriptWebhook, "closed": scriptClosed,
		},
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// exits CODE PROGRAM ARG… runs a program that ends with this code.
func scriptExits(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || strconv.Itoa(exit.ExitCode()) != args[0] {
		ts.Fatalf("%s: %v, and not %s", strings.Join(args[1:], " "), err, args[0])
	}
}

// webhook [TOKEN] starts a server, and sets TARGET and METRICS to its URLs. Its authority is in ca.crt.
func scriptWebhook(ts *testscript.TestScript, _ bool, args []string) {
	w := newWebhook(strings.Join(args, ""))
	ts.Defer(w.close)
	ts.Check(w.authority(ts.MkAbs("ca.crt")))
	ts.Setenv("TARGET", w.URL+"/review")
	ts.Setenv("METRICS", w.metrics.URL+"/metrics")
}

// closed sets CLOSED to an address at which nobody listens, and nobody will: the port is bound until the script has
// ended.
func scriptClosed(ts *testscript.TestScript, _ bool, _ []string) {
	bound, err := net.ListenPacket("udp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { bound.Close() })
	ts.Setenv("CLOSED", bound.LocalAddr().String())
}
