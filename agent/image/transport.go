package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

const (
	// maxRedirects is how many redirections of one request are followed, as many as
	// net/http follows where nobody asks it for another policy.
	maxRedirects = 10
	// stallTime is how long a registry may send nothing at all while something is
	// waited for.
	stallTime = time.Minute
)

var (
	errRedirects = fmt.Errorf("%w: it redirects more than %d times", ErrRegistryUnavailable, maxRedirects)
	errStalled   = fmt.Errorf("%w: it has sent nothing for %s", ErrRegistryUnavailable, stallTime)
)

// registryTransport makes requests of registries, of whom nothing is expected: an
// image that is never there must not have pods wait for ever, nor those who want
// the same image.
type registryTransport struct{ http.RoundTripper }

func newRegistryTransport() http.RoundTripper { return registryTransport{remote.DefaultTransport} }

// RoundTrip implements http.RoundTripper.
func (t registryTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if redirections(req) > maxRedirects {
		return nil, errRedirects
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	timer := time.AfterFunc(stallTime, func() { cancel(errStalled) })
	resp, err := t.RoundTripper.RoundTrip(req.WithContext(ctx))
	timer.Stop()
	if err != nil {
		defer cancel(nil)
		return nil, stalledOr(ctx, err)
	}
	resp.Body = &watchedBody{ReadCloser: resp.Body, ctx: ctx, cancel: cancel, timer: timer}
	return resp, nil
}

// redirections counts the answers that have led to a request.
func redirections(req *http.Request) int {
	n := 0
	for req.Response != nil && req.Response.Request != nil {
		n, req = n+1, req.Response.Request
	}
	return n
}

// stalledOr returns errStalled if that is why a request was given up.
func stalledOr(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errStalled) {
		return errStalled
	}
	return err
}

// watchedBody is an answer that is given up when nothing of it comes for long,
// while it is waited for.
type watchedBody struct {
	io.ReadCloser

	ctx    context.Context //nolint:containedctx // that of the request
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.timer.Reset(stallTime)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	return n, stalledOr(b.ctx, err)
}

func (b *watchedBody) Close() error {
	b.timer.Stop()
	defer b.cancel(nil)
	return b.ReadCloser.Close()
}
