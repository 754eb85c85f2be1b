package failpoint_test

import (
	"errors"
	"iter"
	"testing"

	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/backend/backendtest"
	"navarch.dev/navarch/services/store/backend/failpoint"
	"navarch.dev/navarch/services/store/backend/memory"
)

func open(t *testing.T) backend.Backend {
	b := memory.New()
	t.Cleanup(func() { _ = b.Close() })
	return failpoint.New(b)
}

// Where no point is armed, it is the backend it was made of.
func TestConformance(t *testing.T) { backendtest.Run(t, open) }

func TestPointsStrikeAsOftenAsTheyAreArmed(t *testing.T) {
	ctx := t.Context()
	b := open(t).(*failpoint.Backend)
	put := backend.Op{Type: backend.Put, Key: "/a", Value: []byte("v")}

	b.Arm(failpoint.CommitFails, 1)
	if _, err := b.Commit(ctx, put); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("a commit that fails: %v", err)
	}
	if kv, err := b.Get(ctx, "/a", 0); kv != nil || err != nil {
		t.Errorf("has written %v, %v", kv, err)
	}
	b.Arm(failpoint.AnswerLost, 1)
	if _, err := b.Commit(ctx, put); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("a lost answer: %v", err)
	}
	if kv, err := b.Get(ctx, "/a", 0); kv == nil || err != nil {
		t.Errorf("has not written: %v", err)
	}
	b.Arm(failpoint.WatchCompacted, 1)
	if batch := first(b.Watch(ctx, "/a", 1)); !errors.Is(batch.Err, backend.ErrCompacted) {
		t.Errorf("a compacted watch: %+v", batch)
	}
	b.Arm(failpoint.ReadFails, 3)
	b.Disarm()
	if batch := first(b.Watch(ctx, "/a", 1)); len(batch.Events) != 1 {
		t.Errorf("a watch: %+v", batch)
	}
	if _, err := b.Revision(ctx); err != nil {
		t.Error(err)
	}
}

// first returns what a watch yields first, and ends it.
func first(watch iter.Seq[backend.Batch]) backend.Batch {
	for batch := range watch {
		return batch
	}
	return backend.Batch{}
}
