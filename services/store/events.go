package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/cache"
	"navarch.dev/navarch/services/store/registry"
)

// eventCheckInterval is how often the Events are counted.
const eventCheckInterval = time.Minute

// boundEvents removes the oldest Events where there are more than are kept,
// until ctx ends: they go by themselves after a while, but something that
// fails in a loop makes more of them than anybody has room for.
func (s *Store) boundEvents(ctx context.Context) {
	if s.cfg.MaxEvents == 0 {
		return
	}
	ticker := time.NewTicker(eventCheckInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := s.trimEvents(ctx); err != nil && ctx.Err() == nil {
			s.tel.Log.WarnContext(ctx, "old events could not be removed", "error", err)
		}
	}
}

// trimEvents leaves a tenth of room where there are too many Events, so that
// the next ones need not make room again at once.
func (s *Store) trimEvents(ctx context.Context) error {
	kind, err := s.kinds.ForObject(&corev1.Event{})
	if err != nil {
		return err
	}
	prefix := s.registry.KeyPrefix(kind, "")
	count, err := s.backend.Count(ctx, prefix)
	if err != nil || count <= int64(s.cfg.MaxEvents) {
		return err
	}
	c := s.registry.Cache(kind)
	if err := c.Fresh(ctx); err != nil {
		return fmt.Errorf("read the events: %w", err)
	}
	var all []*cache.Version
	err = c.Snapshot().Ascend(ctx, prefix, "", func(v *cache.Version) bool {
		all = append(all, v)
		return true
	})
	if err != nil {
		return fmt.Errorf("read the events: %w", err)
	}
	slices.SortFunc(all, func(a, b *cache.Version) int { return cmp.Compare(a.Revision, b.Revision) })
	surplus := len(all) - s.cfg.MaxEvents + s.cfg.MaxEvents/10
	for _, v := range all[:min(max(surplus, 0), len(all))] {
		if _, err := s.backend.Commit(ctx, backend.Op{Type: backend.Delete, Key: v.Key, Expect: v.Revision}); err != nil {
			return registry.BackendError(err)
		}
	}
	s.tel.Log.InfoContext(ctx, "the oldest events were removed", "removed", max(surplus, 0), "kept", s.cfg.MaxEvents)
	return nil
}
