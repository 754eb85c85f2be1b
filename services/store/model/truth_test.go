package model_test

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/cache"
)

// prefix begins the keys of the objects that the check is about.
const prefix = "/registry/core/configmaps/"

// change is one change as the backend had it.
type change struct {
	revision int64
	key      string
	// object is nil for one that was removed.
	object *corev1.ConfigMap
}

// truth observes the backend from its beginning, undisturbed.
type truth struct {
	backend backend.Backend

	mu       sync.Mutex // guards the fields below
	changes  []change
	revision int64
}

func observe(t *testing.T, b backend.Backend) *truth {
	kind, err := kinds.Default().ForObject(&corev1.ConfigMap{})
	if err != nil {
		t.Fatal(err)
	}
	start, err := b.Revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tr := &truth{backend: b, revision: start}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for batch := range b.Watch(ctx, prefix, start+1) {
			if batch.Err != nil {
				if ctx.Err() == nil {
					t.Errorf("the observer was disturbed: %v", batch.Err)
				}
				return
			}
			tr.take(t, kind, batch)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return tr
}

func (tr *truth) take(t *testing.T, kind *kinds.Kind, batch backend.Batch) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, e := range batch.Events {
		c := change{revision: e.Revision, key: e.Key}
		if !e.Deleted {
			v, err := cache.Decode(kind, e.KeyValue)
			if err != nil {
				t.Errorf("the observer read %s: %v", e.Key, err)
				continue
			}
			c.object = v.Object().(*corev1.ConfigMap)
		}
		tr.changes = append(tr.changes, c)
		tr.revision = max(tr.revision, e.Revision)
	}
	tr.revision = max(tr.revision, batch.Progress)
}

// reached returns the revision up to which the truth is known.
func (tr *truth) reached() int64 {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.revision
}

func (tr *truth) all() []change {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.changes
}

// reach waits until the truth is known up to a revision.
func (tr *truth) reach(t *testing.T, revision int64) {
	t.Helper()
	for tr.reached() < revision {
		if err := tr.backend.RequestProgress(t.Context(), prefix); err != nil {
			t.Fatal(err)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// replay calls yield for every change with the object as it was before, nil if
// there was none.
func (tr *truth) replay(yield func(before *corev1.ConfigMap, c change)) {
	present := make(map[string]*corev1.ConfigMap)
	for _, c := range tr.all() {
		yield(present[c.key], c)
		if present[c.key] = c.object; c.object == nil {
			delete(present, c.key)
		}
	}
}

// at returns the state as of a revision: each object's name and what is shown
// of it.
func (tr *truth) at(revision int64, selects func(*corev1.ConfigMap) bool) map[string]string {
	state := make(map[string]string)
	for _, c := range tr.all() {
		if c.revision > revision {
			break
		}
		if c.object != nil && selects(c.object) {
			state[c.key[len(prefix):]] = shown(c.object)
		} else {
			delete(state, c.key[len(prefix):])
		}
	}
	return state
}

// shown is what is compared of an object.
func shown(cm *corev1.ConfigMap) string { return cm.Data[valueKey] + "@" + cm.ResourceVersion }

// nameOf is an object's name in states.
func nameOf(cm *corev1.ConfigMap) string { return cm.Namespace + "/" + cm.Name }

func revisionOf(t *testing.T, rv string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(rv, 10, 64)
	if err != nil {
		t.Errorf("resourceVersion %q: %v", rv, err)
	}
	return n
}
