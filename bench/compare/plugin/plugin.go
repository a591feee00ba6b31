// Package plugin sends reviews as Kubernetes' ImagePolicyWebhook plugin does: with its own client, transport and retries
// (k8s.io/apiserver/pkg/util/webhook over client-go), and without the plugin's cache in front.
//
// It decides when reviews are sent. A review that is not allowed is an error: the load is of reviews that are.
package plugin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/api/imagepolicy/v1alpha1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/rest"

	"sluice/bench/compare/load"
)

// Client is one apiserver's. It is safe for concurrent use.
type Client struct {
	webhook *webhook.GenericWebhook
	review  *v1alpha1.ImageReview
	dialed  atomic.Int64
	ctx     context.Context // of the connections
	end     context.CancelFunc
}

// New makes a client with a certificate of the directory that "sluice init" writes, and the one review that it sends.
// Close it.
func New(addr, path, pki string, images ...string) (*Client, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	c := &Client{review: &v1alpha1.ImageReview{Spec: v1alpha1.ImageReviewSpec{
		Annotations: map[string]string{"team.image-policy.k8s.io/ticket": "none"}, Namespace: "prod-shop",
	}}}
	for _, image := range images {
		c.review.Spec.Containers = append(c.review.Spec.Containers, v1alpha1.ImageReviewContainerSpec{Image: image})
	}
	c.ctx, c.end = context.WithCancel(context.Background())
	// As webhook.LoadKubeconfig makes it of a kubeconfig.
	config := &rest.Config{
		Host: "https://" + addr + path, QPS: -1, Timeout: 30 * time.Second,
		TLSClientConfig: rest.TLSClientConfig{
			CAFile: filepath.Join(pki, "ca.crt"), CertFile: filepath.Join(pki, "client.crt"), KeyFile: filepath.Join(pki, "client.key"),
		},
		Dial: c.dial,
	}
	var err error
	c.webhook, err = webhook.NewGenericWebhook(scheme, serializer.NewCodecFactory(scheme), config,
		[]schema.GroupVersion{v1alpha1.SchemeGroupVersion}, webhook.DefaultRetryBackoffWithInitialDelay(500*time.Millisecond))
	if err != nil {
		c.end()
		return nil, err
	}
	return c, nil
}

// dial counts: each connection is a handshake.
func (c *Client) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c.dialed.Add(1)
	dialer := net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	conn, err := dialer.DialContext(ctx, network, addr)
	if err == nil {
		context.AfterFunc(c.ctx, func() { _ = conn.Close() })
	}
	return conn, err
}

// Close closes all connections.
func (c *Client) Close() { c.end() }

// Review sends the review, as the plugin's webhookAdmit does.
func (c *Client) Review(ctx context.Context) error {
	result := c.webhook.WithExponentialBackoff(ctx, func() rest.Result {
		return c.webhook.RestClient.Post().Body(c.review.DeepCopy()).Do(ctx)
	})
	if err := result.Error(); err != nil {
		return err
	}
	var status int
	result.StatusCode(&status)
	answer := new(v1alpha1.ImageReview)
	if err := result.Into(answer); err != nil {
		return err
	}
	if status != 200 || !answer.Status.Allowed {
		return fmt.Errorf("status %d, allowed %v: %s", status, answer.Status.Allowed, answer.Status.Reason)
	}
	return nil
}

// Closed keeps so many reviews in flight.
func (c *Client) Closed(ctx context.Context, flight int, w load.Window) (load.Result, error) {
	workers := make([]load.Worker, flight)
	for i := range workers {
		workers[i] = func(ctx context.Context, m *load.Meter) error {
			for !m.Stopped() {
				begin := time.Now()
				if err := c.Review(ctx); err != nil {
					return err
				}
				m.Answered(begin)
			}
			return nil
		}
	}
	return load.Run(ctx, w, c.dialed.Load, workers)
}

// Bursts sends so many reviews at once, as often as bursts says, and begins a burst every so often, whatever has become
// of those before. One burst goes ahead unmeasured. begin and end are called around the others and all their answers.
func (c *Client) Bursts(ctx context.Context, bursts, size int, every time.Duration, begin, end func()) (load.Result, error) {
	if err := c.Review(ctx); err != nil { // the first connection
		return load.Result{}, err
	}
	result := load.Result{Latency: load.NewHistogram()}
	var mu sync.Mutex
	var errs []error
	var reviews sync.WaitGroup
	burst := func(measured bool) {
		at := time.Now()
		for range size {
			reviews.Go(func() {
				err := c.Review(ctx)
				took := min(max(time.Since(at), time.Microsecond), time.Minute)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err != nil:
					errs = append(errs, err)
				case measured:
					_ = result.Latency.RecordValue(int64(took))
				}
			})
		}
	}
	burst(false)
	reviews.Wait()
	before, began := c.dialed.Load(), time.Now()
	begin()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := range bursts {
		burst(true)
		if n == bursts-1 {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	reviews.Wait()
	end()
	result.Elapsed, result.Connections = time.Since(began), c.dialed.Load()-before
	result.Requests = result.Latency.TotalCount()
	if len(errs) > 0 {
		return result, fmt.Errorf("%d of %d reviews failed: %w", len(errs), bursts*size, errs[0])
	}
	return result, errors.Join(ctx.Err())
}
