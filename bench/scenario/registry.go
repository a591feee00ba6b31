package scenario

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/resolver/registrytest"
)

// RegistryCommand is the hidden subcommand as which this program's binary is the registry of a lab. It calls
// [ServeRegistry].
const RegistryCommand = "registry"

// maxImages is how many images a registry is asked to make in all. They are kept in memory.
const maxImages = 100_000

// order is what the registry's process is told to do, one on each line of its standard input.
type order struct {
	Fill    int           `json:"fill,omitempty"`    // images to make and to put below Folder
	Folder  string        `json:"folder,omitempty"`  //
	Signed  bool          `json:"signed,omitempty"`  // whether they are signed
	OneRepo bool          `json:"oneRepo,omitempty"` // whether they are all in one repository
	Latency time.Duration `json:"latency"`           // before each answer, from now on
	Reset   bool          `json:"reset,omitempty"`   // the counters
}

// registryState is the answer to an order, one on each line of the standard output.
type registryState struct {
	Error string `json:"error,omitempty"`

	Host      string `json:"host"`
	CA        []byte `json:"ca"`
	PublicKey []byte `json:"publicKey"` // of the key that signs

	Images      []image `json:"images,omitempty"` // those that were just made
	Requests    int64   `json:"requests"`         // since the last reset
	Connections int64   `json:"connections"`
	MostAtOnce  int64   `json:"mostAtOnce"` // requests
}

// image is an image of the registry.
type image struct {
	Repository string `json:"repository"` // with the registry's name
	Tag        string `json:"tag"`
	Digest     string `json:"digest"`
}

func (i image) byTag() string    { return i.Repository + ":" + i.Tag }
func (i image) byDigest() string { return i.Repository + "@" + i.Digest }

// ServeRegistry runs a registry on loopback, and follows orders from in until that ends or ctx does. It says how it is
// after each order, and once before the first.
func ServeRegistry(ctx context.Context, in io.Reader, out io.Writer) error {
	registry, err := registrytest.New(registrytest.Options{TLS: true})
	if err != nil {
		return err
	}
	defer registry.Close()
	key, err := registrytest.GenerateKey(registrytest.P256)
	if err != nil {
		return err
	}
	orders := make(chan order)
	read, stopped := make(chan error, 1), make(chan struct{})
	defer close(stopped)
	go func() {
		dec := json.NewDecoder(bufio.NewReader(in))
		for {
			var o order
			if err := dec.Decode(&o); err != nil {
				read <- err
				return
			}
			select {
			case orders <- o:
			case <-stopped:
				return
			}
		}
	}()
	enc := json.NewEncoder(out)
	state := registryState{Host: registry.Host(), CA: registry.CA(), PublicKey: key.PublicPEM}
	made := 0
	for {
		if err := enc.Encode(state); err != nil {
			return err
		}
		state.Error, state.Images = "", nil
		select {
		case <-ctx.Done():
			return nil
		case err := <-read:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("an order that cannot be read: %w", err)
		case o := <-orders:
			if made += o.Fill; o.Fill < 0 || made > maxImages {
				state.Error = fmt.Sprintf("a registry makes up to %d images", maxImages)
				break
			}
			if state.Images, err = fill(registry, key, o); err != nil {
				state.Error = err.Error()
			}
			if o.Reset {
				registry.Reset()
			}
			if o.Latency > 0 {
				registry.SetFaultEverywhere(registrytest.Latency(o.Latency))
			}
			counts := registry.Counts()
			_, state.MostAtOnce = registry.InFlight()
			state.Requests, state.Connections = counts.Requests(), counts.Connections
		}
	}
}

// repositories is among how many repositories the images of a folder are spread.
const repositories = 50

func fill(registry *registrytest.Registry, key registrytest.Key, o order) ([]image, error) {
	images, spread := make([]image, o.Fill), repositories
	if o.OneRepo {
		spread = 1
	}
	var g errgroup.Group
	g.SetLimit(8)
	for i := range images {
		g.Go(func() error {
			repository, tag := fmt.Sprintf("%s/app-%d", o.Folder, i%spread), fmt.Sprintf("v%d", i/spread)
			digest, err := registry.PushImage(repository + ":" + tag)
			if err == nil && o.Signed {
				err = registry.Sign(repository, digest, key, registrytest.SignOptions{})
			}
			images[i] = image{Repository: registry.Host() + "/" + repository, Tag: tag, Digest: digest}
			return err
		})
	}
	return images, g.Wait()
}

// registryProcess is a registry in a child process. Its methods are called from one goroutine at a time.
type registryProcess struct {
	*child
	answers *json.Decoder
	state   registryState
}

// startRegistry starts argv, which is to call ServeRegistry.
func startRegistry(ctx context.Context, dir string, argv []string) (*registryProcess, error) {
	c, err := startChild(dir, "registry", nil, true, argv...)
	if err != nil {
		return nil, err
	}
	r := &registryProcess{child: c, answers: json.NewDecoder(bufio.NewReader(c.stdout))}
	if err := r.read(ctx); err != nil {
		c.stop()
		return nil, err
	}
	return r, nil
}

// do gives an order, and returns how the registry is after it.
func (r *registryProcess) do(ctx context.Context, o order) (registryState, error) {
	if err := json.NewEncoder(r.stdin).Encode(o); err != nil {
		return registryState{}, errors.Join(fmt.Errorf("the registry takes no orders: %w", err), r.dead())
	}
	err := r.read(ctx)
	return r.state, err
}

// read reads one answer. If it takes too long the registry is ended, for its next answer would be to this order.
func (r *registryProcess) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = r.process.Kill() })
	defer stop()
	r.state = registryState{}
	if err := r.answers.Decode(&r.state); err != nil {
		<-r.done
		return errors.Join(fmt.Errorf("the registry does not answer: %w", err), ctx.Err(), r.dead())
	}
	if r.state.Error != "" {
		return errors.New("the registry: " + r.state.Error)
	}
	return nil
}
