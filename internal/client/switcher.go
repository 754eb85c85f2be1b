package client

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// longestStay bounds how long a Store is kept that fails, when no other did
// better.
const longestStay = time.Minute

// OtherStore returns what has a connection go to another Store, nil if it is not
// one to several.
func OtherStore(conn grpc.ClientConnInterface) func() {
	if several, ok := conn.(interface{ Switch() }); ok {
		return several.Switch
	}
	return nil
}

// Switcher leaves a Store for another when calls fail that should not: one that
// hangs, or is cut off from the state, while its connections stay open. When no
// Store is better, clients must not run about between them, so each stay is twice
// as long as the one before.
type Switcher struct {
	other    func()
	least    time.Duration
	patience time.Duration

	mu sync.Mutex // guards the fields below
	// since is when the first of the present failures came; zero is none.
	since time.Time
	// stay is until when the connection stays where it is, and stayed for how long
	// it has then.
	stay   time.Time
	stayed time.Duration
}

// NewSwitcher returns a Switcher that calls other once calls have failed for as
// long as patience lasts, and then not again for the shortest stay. A nil other is
// never called.
func NewSwitcher(other func(), shortestStay, patience time.Duration) *Switcher {
	return &Switcher{other: other, least: shortestStay, patience: patience}
}

// Failed is told why a call failed, and says whether it has led to another Store,
// at which to try again.
func (s *Switcher) Failed(err error) (switched bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.other == nil || !isOfStore(err) {
		return false
	}
	if s.since.IsZero() {
		s.since = now
	}
	if now.Sub(s.since) < s.patience || now.Before(s.stay) {
		return false
	}
	s.other()
	s.stayed = min(max(2*s.stayed, s.least), longestStay)
	s.stay = now.Add(s.stayed)
	return true
}

// Succeeded is told that the Store does what it should.
func (s *Switcher) Succeeded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since, s.stay, s.stayed = time.Time{}, time.Time{}, 0
}

// isOfStore says whether an error is about the Store and not about what was asked
// of it.
func isOfStore(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || apierrors.IsServiceUnavailable(err) || apierrors.IsInternalError(err) ||
		apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err)
}
