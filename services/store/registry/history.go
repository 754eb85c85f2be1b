package registry

import (
	"context"
	"errors"
	"fmt"

	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/cache"
)

// Past is what one write made of an object.
type Past struct {
	// Version is the object after the write; for a removal, as it was last.
	Version *cache.Version
	// Writer is nil where it is not known.
	Writer  *storev1.Writer
	Removed bool
}

// History returns an object's past, newest first, at most limit versions of
// it. complete says that the last one is the object's creation; otherwise the
// backend keeps no more, or the limit was reached.
func (r *Registry) History(ctx context.Context, kind *kinds.Kind, namespace, name string, limit int) (past []Past, complete bool, err error) {
	h := historian{registry: r, kind: r.stored(kind), key: r.Key(kind, namespace, name)}
	kv, err := r.Backend.Get(ctx, h.key, 0)
	if err != nil {
		return nil, false, BackendError(err)
	}
	if kv == nil {
		kv, err = h.beforeRemoval(ctx, 0)
	}
	for kv != nil && err == nil && len(h.past) < limit {
		kv, err = h.step(ctx, kv)
	}
	if errors.Is(err, backend.ErrCompacted) {
		kv, err = &backend.KeyValue{}, nil // there was more
	}
	if err != nil {
		return nil, false, fmt.Errorf("read the history of %s: %w", h.key, BackendError(err))
	}
	for i := range h.past {
		if h.past[i].Version, err = h.past[i].Version.As(kind); err != nil {
			return nil, false, err
		}
	}
	return h.past[:min(len(h.past), limit)], kv == nil && len(h.past) <= limit, nil
}

// historian walks back through the revisions of one key.
type historian struct {
	registry *Registry
	kind     *kinds.Kind
	key      string
	past     []Past
}

// step notes a revision and returns the one before it, nil if there is none.
func (h *historian) step(ctx context.Context, kv *backend.KeyValue) (*backend.KeyValue, error) {
	v, writer, err := cache.DecodeWritten(h.kind, *kv)
	if err != nil {
		return nil, err
	}
	h.past = append(h.past, Past{Version: v, Writer: writer})
	before, err := h.before(ctx, kv.Revision)
	if err != nil || before != nil {
		return before, err
	}
	return h.beforeRemoval(ctx, kv.Revision)
}

func (h *historian) before(ctx context.Context, revision int64) (*backend.KeyValue, error) {
	if revision <= 1 {
		return nil, nil
	}
	return h.registry.Backend.Get(ctx, h.key, revision-1)
}

// beforeRemoval notes the last removal of the key before a revision, 0 for the
// very last, and returns what was removed. The backend keeps removals where
// they cannot be looked for, so those count that the watch cache remembers.
func (h *historian) beforeRemoval(ctx context.Context, revision int64) (*backend.KeyValue, error) {
	c := h.registry.Cache(h.kind)
	if revision == 0 {
		if err := c.Fresh(ctx); err != nil {
			return nil, fmt.Errorf("wait for the watch cache: %w", err)
		}
	}
	removal, ok := c.LastRemoval(h.key, revision)
	if !ok {
		return nil, nil
	}
	h.past = append(h.past, Past{Version: removal.Version, Writer: h.registry.removals.at(removal.Revision), Removed: true})
	return h.before(ctx, removal.Revision)
}
