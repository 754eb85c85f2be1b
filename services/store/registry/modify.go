package registry

import (
	"bytes"
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/cache"
)

// conflictAttempts is how often a write that loses to another is tried again.
const conflictAttempts = 12

// absentError says that the object itself of a write is not there. Other things
// that it needs, such as its namespace, may be missing too.
type absentError struct{ *apierrors.StatusError }

// outcome is what a change wants to become of an object.
type outcome struct {
	// object is the new state, owned by the outcome; nil removes the object.
	object kinds.Object
	// trace is stored with it.
	trace *storev1.TraceContext
	// ops are committed in the same transaction.
	ops []backend.Op
	// charge is committed with it too.
	charge *charge
}

// change decides what becomes of an object whose present version is cur. It
// may be called several times.
type change func(cur *cache.Version) (outcome, error)

// modify applies a change to an object. It returns the object's new version,
// or its last one and removed true if the change removed it.
func (r *Registry) modify(ctx context.Context, w Write, decide change) (v *cache.Version, removed bool, err error) {
	kind := r.stored(w.Kind)
	key := r.Key(w.Kind, w.Namespace, w.Name)
	cur, fresh := r.Cache(kind).Get(key), false
	for range conflictAttempts {
		if cur == nil && !fresh {
			if cur, err = r.read(ctx, kind, key); err != nil {
				return nil, false, err
			}
			fresh = true
		}
		if cur == nil {
			return nil, false, absentError{apierrors.NewNotFound(w.Kind.GroupResource(), w.Name)}
		}
		t := attempt{registry: r, write: w, kind: kind, cur: cur}
		settled, err := t.run(ctx, decide)
		if settled && (fresh || t.final) {
			return t.version, t.removed, err
		}
		if settled {
			newer, rerr := r.newer(ctx, cur)
			if rerr != nil {
				return nil, false, rerr
			}
			if newer == cur {
				return t.version, t.removed, err
			}
			t.current = newer
		} else if err != nil {
			return nil, false, err
		}
		cur, fresh = t.current, true
	}
	return nil, false, conflict(w.Kind, w.Name)
}

// newer returns the object as the backend has it: cur itself if it is that,
// nil if the object is gone.
func (r *Registry) newer(ctx context.Context, cur *cache.Version) (*cache.Version, error) {
	kv, err := r.Backend.Get(ctx, cur.Key, 0)
	switch {
	case err != nil || kv == nil:
		return nil, BackendError(err)
	case kv.Revision == cur.Revision:
		return cur, nil
	}
	return cache.Decode(cur.Kind(), *kv)
}

// attempt is one try of a change against one version of the object.
type attempt struct {
	registry *Registry
	write    Write
	kind     *kinds.Kind
	cur      *cache.Version

	version *cache.Version
	removed bool
	// final says that the backend was asked to commit: whatever came of it is
	// the answer.
	final bool
	// current is what the object turned out to be, where the try lost.
	current *cache.Version
}

// run decides and commits. settled is false if the try lost to another write.
func (t *attempt) run(ctx context.Context, decide change) (settled bool, err error) {
	out, err := decide(t.cur)
	if err != nil {
		return true, err
	}
	defer out.charge.release()
	if out.object == nil {
		return t.remove(ctx, out)
	}
	obj, err := t.registry.toStored(t.write.Kind, out.object)
	if err != nil {
		return true, err
	}
	draft, err := cache.NewDraft(t.kind, t.cur.Key, obj, cache.Envelope{Trace: out.trace, Writer: t.write.writer(time.Now())})
	if err != nil {
		return true, err
	}
	switch {
	case bytes.Equal(draft.Body(), t.cur.Body()):
		t.version, err = t.cur.As(t.write.Kind)
		return true, err
	case t.write.DryRun:
		t.version, err = draft.Unstored(t.cur.Revision).As(t.write.Kind)
		return true, err
	}
	put := backend.Op{Type: backend.Put, Key: t.cur.Key, Value: draft.Value(), Expect: t.cur.Revision, TTL: t.registry.ttl(t.kind), Urgent: urgent(t.kind, obj)}
	result, v, err := t.registry.commit(ctx, t.kind, draft, out.charge, append([]backend.Op{put}, out.ops...)...)
	t.final = err != nil || result.Committed
	if err != nil {
		return true, err
	}
	if !result.Committed {
		return false, t.lost(result)
	}
	t.version, err = v.As(t.write.Kind)
	return true, err
}

// urgent says whether an update is to go through where space is nearly used up:
// Leases, since nodes that cannot renew theirs are taken for dead, and what is
// being deleted, since that makes room.
func urgent(kind *kinds.Kind, obj kinds.Object) bool {
	return kind.GroupResource() == schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"} || obj.GetDeletionTimestamp() != nil
}

func (t *attempt) remove(ctx context.Context, out outcome) (settled bool, err error) {
	t.removed = true
	if t.version, err = t.cur.As(t.write.Kind); err != nil || t.write.DryRun {
		return true, err
	}
	if err := t.registry.remember(ctx, t.kind, t.registry.Cache(t.kind)); err != nil {
		return true, err
	}
	del := backend.Op{Type: backend.Delete, Key: t.cur.Key, Expect: t.cur.Revision}
	result, err := t.registry.Backend.Commit(ctx, append([]backend.Op{del}, out.ops...)...)
	t.final = err != nil || result.Committed
	if err != nil {
		return true, BackendError(err)
	}
	if !result.Committed {
		return false, t.lost(result)
	}
	t.registry.removals.add(result.Revision, t.write.writer(time.Now()))
	t.registry.Cache(t.kind).Wrote(result.Revision)
	if told := t.registry.Removed; told != nil {
		told(ctx, t.version.Object())
	}
	return true, nil
}

// lost notes what the object has become meanwhile.
func (t *attempt) lost(result backend.Result) error {
	kv := result.Current[0]
	if kv == nil {
		return nil
	}
	var err error
	t.current, err = cache.Decode(t.kind, *kv)
	return err
}
