package store

import (
	"context"
	"errors"
	"time"

	"navarch.dev/navarch/services/store/backend"
)

const (
	// compactMinimum is how many transactions must be droppable for a compaction to
	// be worth its disk write: an idle cluster is left alone.
	compactMinimum = 1000
	// reclaimInterval is how often a backend without space is compacted while
	// writes are refused.
	reclaimInterval = 10 * time.Second
)

// refusals is a backend that tells of writes that found no space.
type refusals struct {
	backend.Backend
	// noted receives after a write was refused.
	noted chan struct{}
}

func newRefusals(b backend.Backend) *refusals {
	return &refusals{Backend: b, noted: make(chan struct{}, 1)}
}

// Commit implements backend.Backend.
func (r *refusals) Commit(ctx context.Context, ops ...backend.Op) (backend.Result, error) {
	result, err := r.Backend.Commit(ctx, ops...)
	if errors.Is(err, backend.ErrNoSpace) {
		select {
		case r.noted <- struct{}{}:
		default:
		}
	}
	return result, err
}

// compact drops old revisions from the backend until ctx ends. A revision is
// kept for at least the interval, so that lists can be paged through and
// watches resumed. After twice the interval no page of it is served, whether or
// not it could be: what clients do with a list that takes too long must not
// depend on how much else is written.
//
// While the backend has no space for writes, all that is old is dropped: writes
// are worth more than history.
func (s *Store) compact(ctx context.Context) {
	if s.cfg.CompactInterval == 0 {
		return
	}
	ticker := time.NewTicker(s.cfg.CompactInterval)
	defer ticker.Stop()
	var candidate, done int64
	var reclaimed time.Time
	for {
		full := false
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-s.refusals.noted:
			if full = time.Since(reclaimed) >= reclaimInterval; !full {
				continue
			}
			reclaimed = time.Now()
		}
		revision, err := s.backend.Revision(ctx)
		if err != nil {
			s.tel.Log.WarnContext(ctx, "the backend's revision could not be read", "error", err)
			continue
		}
		if full {
			candidate = revision
		}
		s.oldest.Store(candidate)
		if full || s.backend.Between(done, candidate) >= compactMinimum {
			done = s.compactAt(ctx, candidate, done)
		}
		candidate = revision
	}
}

// compactAt drops what is older than a revision, and returns up to where
// revisions are dropped then.
func (s *Store) compactAt(ctx context.Context, revision, done int64) int64 {
	if err := s.backend.Compact(ctx, revision); err != nil {
		s.tel.Log.WarnContext(ctx, "old revisions could not be dropped", "revision", revision, "error", err)
		return done
	}
	s.metrics.compactedAt.Set(float64(revision))
	return revision
}
