package store

import (
	"context"
	"time"
)

// compactMinimum is how many revisions must be droppable for a compaction to
// be worth its disk write: an idle cluster is left alone.
const compactMinimum = 1000

// compact drops old revisions from the backend until ctx ends. A revision is
// kept for at least the interval, so that lists can be paged through and
// watches resumed. After twice the interval no page of it is served, whether or
// not it could be: what clients do with a list that takes too long must not
// depend on how much else is written.
func (s *Store) compact(ctx context.Context) {
	if s.cfg.CompactInterval == 0 {
		return
	}
	ticker := time.NewTicker(s.cfg.CompactInterval)
	defer ticker.Stop()
	var candidate, done int64
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		s.oldest.Store(candidate)
		if candidate-done >= compactMinimum {
			if err := s.backend.Compact(ctx, candidate); err != nil {
				s.tel.Log.WarnContext(ctx, "old revisions could not be dropped", "revision", candidate, "error", err)
			} else {
				done = candidate
				s.metrics.compactedAt.Set(float64(done))
			}
		}
		revision, err := s.backend.Revision(ctx)
		if err != nil {
			s.tel.Log.WarnContext(ctx, "the backend's revision could not be read", "error", err)
			continue
		}
		candidate = revision
	}
}
