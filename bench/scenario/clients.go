package scenario

import (
	"context"
	"path/filepath"

	"sluice/bench"
	"sluice/bench/client"
	"sluice/bench/workload"
)

// clientOptions are those of a client that has the certificate of the lab.
func (l *lab) clientOptions(v *service, protocol string) client.Options {
	return client.Options{
		URL: v.url, Protocol: protocol, CAFile: filepath.Join(l.dir, "ca.crt"),
		CertFile: filepath.Join(l.dir, "client.crt"), KeyFile: filepath.Join(l.dir, "client.key"),
	}
}

// apiserver is a client as an apiserver is, which has a connection already.
func (l *lab) apiserver(ctx context.Context, v *service, protocol string) (bench.Client, error) {
	return l.apiservers(ctx, v, protocol, 1)
}

// apiservers are several of them, each of which has a connection already.
func (l *lab) apiservers(ctx context.Context, v *service, protocol string, n int) (bench.Client, error) {
	o := l.clientOptions(v, protocol)
	o.Apiservers = n
	c, err := client.New(o)
	if err != nil {
		return nil, err
	}
	for range n { // they take turns
		if err := greet(ctx, c); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

// lean is a client that costs little.
func (l *lab) lean(v *service, protocol string, connections, streams int) (bench.Client, error) {
	o := l.clientOptions(v, protocol)
	o.Lean, o.Connections, o.Streams = true, connections, streams
	return client.New(o)
}

// greet sends a review of an image that needs no registry.
func greet(ctx context.Context, c bench.Client) error {
	w, err := workload.New(workload.Options{Allowed: "warm-up:1"})
	if err != nil {
		return err
	}
	r := w.Next()
	_, err = c.Do(ctx, &r)
	return err
}
