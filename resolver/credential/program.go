package credential

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

const (
	maxOutput = 1 << 20         // of an answer, in bytes
	maxStderr = 4 << 10         // what is kept of it
	waitDelay = 1 * time.Second // how long output may stay open once the program is gone, or told to go
)

var errOutputLong = errors.New("its answer is longer than 1 MiB")

// program is a plugin's executable. It is found anew at each run, so that it can be replaced meanwhile.
type program struct {
	path, apiVersion string
	args, env        []string
}

// request is a CredentialProviderRequest of any of the three versions, without a service account's token.
type request struct {
	Kind       string `json:"kind"`
	APIVersion string `json:"apiVersion"`
	Image      string `json:"image"`
}

// run asks the program about an image. It is killed, with every process that it has started in its process group, when
// ctx ends or it answers without end; and those that it leaves behind are killed too. What it wrote to its standard error
// is returned for the log, as far as it shows no secrets.
func (p *program) run(ctx context.Context, image string) (*response, string, error) {
	question, err := json.Marshal(request{"CredentialProviderRequest", p.apiVersion, image})
	if err != nil {
		return nil, "", err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	stdout, stderr := &answerBuffer{full: stop}, &tailBuffer{}
	cmd := exec.CommandContext(ctx, p.path, p.args...)
	cmd.Env = append(os.Environ(), p.env...) // the later ones count
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(question), stdout, stderr
	cmd.WaitDelay = waitDelay
	inGroup(cmd)
	if err := cmd.Start(); err != nil {
		return nil, "", fmt.Errorf("it can't be started: %w", err)
	}
	reapGroup(cmd.Process)
	err = cmd.Wait()
	said := redact(stderr.text())
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errOutputLong):
		return nil, said, cause
	case errors.Is(cause, context.DeadlineExceeded):
		return nil, said, errors.New("it did not answer in time")
	case cause != nil:
		return nil, said, cause
	case errors.Is(err, exec.ErrWaitDelay):
		return nil, said, errors.New("it ended, and left its output open")
	case err != nil:
		return nil, said, fmt.Errorf("it failed: %w", err) // exit status or signal
	}
	answer, err := parseResponse(stdout.data.Bytes(), p.apiVersion)
	return answer, said, err
}

// answerBuffer keeps an answer, and ends the program when that is too long.
type answerBuffer struct {
	data bytes.Buffer
	full context.CancelCauseFunc
}

// Write fails once there is too much.
func (b *answerBuffer) Write(data []byte) (int, error) {
	if b.data.Len()+len(data) > maxOutput {
		b.full(errOutputLong)
		return 0, errOutputLong
	}
	return b.data.Write(data)
}

// tailBuffer keeps the last of what is written: errors come last.
type tailBuffer struct{ data []byte }

// Write takes everything.
func (b *tailBuffer) Write(data []byte) (int, error) {
	n := len(data)
	data = data[max(0, n-maxStderr):]
	b.data = append(b.data, data...)
	b.data = append(b.data[:0], b.data[max(0, len(b.data)-maxStderr):]...)
	return n, nil
}

func (b *tailBuffer) text() string { return string(b.data) }
