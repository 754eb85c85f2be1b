package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// slowRegistry answers after a while, with bytes that come one by one.
type slowRegistry struct {
	header time.Duration
	bytes  []time.Duration
}

func (r slowRegistry) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := sleep(req.Context(), r.header); err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Body: &slowBody{req.Context(), r.bytes}}, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

type slowBody struct {
	ctx  context.Context
	left []time.Duration
}

func (b *slowBody) Read(p []byte) (int, error) {
	if len(b.left) == 0 {
		return 0, io.EOF
	}
	if err := sleep(b.ctx, b.left[0]); err != nil {
		return 0, err
	}
	b.left = b.left[1:]
	return copy(p, "x"), nil
}

func (b *slowBody) Close() error { return nil }

func TestRegistriesMayBeSlowButNotSilent(t *testing.T) {
	const nearly, tooLong = stallTime - time.Second, stallTime + time.Second
	for name, tt := range map[string]struct {
		registry slowRegistry
		reader   time.Duration // how long it takes for each byte
		stalled  bool
	}{
		"slow":                     {registry: slowRegistry{nearly, []time.Duration{nearly, nearly, nearly}}},
		"a reader that is slow":    {registry: slowRegistry{0, []time.Duration{0, nearly, 0}}, reader: 10 * stallTime},
		"silent":                   {registry: slowRegistry{tooLong, nil}, stalled: true},
		"silent after a beginning": {registry: slowRegistry{0, []time.Duration{0, 0, tooLong}}, stalled: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				err := readAll(t.Context(), registryTransport{tt.registry}, tt.reader)
				if errors.Is(err, ErrRegistryUnavailable) != tt.stalled || !tt.stalled && err != nil {
					t.Errorf("the registry's answer ended with %v", err)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := readAll(ctx, registryTransport{slowRegistry{0, []time.Duration{tooLong}}}, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a request that was given up ended with %v", err)
		}
	})
}

// A full disk is not the registry's fault.
func TestClassifyDisk(t *testing.T) {
	err := classify(fmt.Errorf("unpack: %w", &fs.PathError{Op: "write", Path: "/x", Err: syscall.ENOSPC}))
	if errors.Is(err, ErrRegistryUnavailable) || Reason(err) != ReasonErrImagePull {
		t.Errorf("a full disk is told by %v, reason %s", err, Reason(err))
	}
	if err := classify(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}); !errors.Is(err, ErrRegistryUnavailable) {
		t.Errorf("a registry that cannot be reached is told by %v", err)
	}
}

func readAll(ctx context.Context, transport http.RoundTripper, pause time.Duration) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://registry.example/", nil)
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	for err == nil {
		time.Sleep(pause)
		_, err = resp.Body.Read(make([]byte, 1))
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, resp.Body.Close())
}
