package aggregation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"navarch.dev/navarch/internal/extension"
)

const (
	// patience is how long a server may take to say something of itself.
	patience = 5 * time.Second
	// keptFor is how long what it said is taken to hold, and failedFor how long
	// it is not asked again after it said nothing.
	keptFor, failedFor = 30 * time.Second, 5 * time.Second
	// maxDocument is the most that a document may hold.
	maxDocument = 32 << 20
)

// asked is something that a server says of itself. It is asked for when it is
// wanted, and again in the background when it is wanted later.
type asked[T any] struct {
	mu    sync.Mutex // guards what follows
	value T
	err   error
	until time.Time // zero: never asked
	// answered is closed when the question under way is answered; nil: there is
	// none.
	answered chan struct{}
}

// get returns what was said last. It waits only if nothing was said before.
func (k *asked[T]) get(ctx context.Context, ask func(context.Context) (T, error)) (T, error) {
	k.mu.Lock()
	if k.answered == nil && !time.Now().Before(k.until) {
		k.answered = make(chan struct{})
		go k.ask(context.WithoutCancel(ctx), ask, k.answered)
	}
	answered, first := k.answered, k.until.IsZero() || k.err != nil
	k.mu.Unlock()
	if answered != nil && first {
		select {
		case <-answered:
		case <-ctx.Done():
			return *new(T), ctx.Err()
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.value, k.err
}

func (k *asked[T]) ask(ctx context.Context, ask func(context.Context) (T, error), answered chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	value, err := ask(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.value, k.err, k.until = value, err, time.Now().Add(keptFor)
	if err != nil {
		k.until = time.Now().Add(failedFor)
	}
	k.answered = nil
	close(answered)
}

// errNotServed is the error of a document that a server does not have.
var errNotServed = errors.New("the server has no such document")

// fetch asks a server for one of its documents.
func (s *server) fetch(ctx context.Context, path, accept string) (body []byte, contentType string, err error) {
	switch {
	case !s.available:
		return nil, "", errors.New("the server is not available")
	case s.broken != nil:
		return nil, "", s.broken
	}
	request, err := extension.NewRequest(ctx, &s.spec, path)
	if err != nil {
		return nil, "", err
	}
	request.Header.Set("Accept", accept)
	response, err := s.transport.RoundTrip(request)
	if err != nil {
		return nil, "", fmt.Errorf("ask for %s: %w", request.URL, err)
	}
	defer func() { _ = response.Body.Close() }()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusNotAcceptable, http.StatusForbidden:
		return nil, "", fmt.Errorf("ask for %s: %w (status %d)", request.URL, errNotServed, response.StatusCode)
	default:
		return nil, "", fmt.Errorf("ask for %s: status %d", request.URL, response.StatusCode)
	}
	body, err = io.ReadAll(io.LimitReader(response.Body, maxDocument+1))
	if err == nil && len(body) > maxDocument {
		err = fmt.Errorf("the document is larger than %d bytes", maxDocument)
	}
	if err != nil {
		return nil, "", fmt.Errorf("read %s: %w", request.URL, err)
	}
	return body, response.Header.Get("Content-Type"), nil
}
