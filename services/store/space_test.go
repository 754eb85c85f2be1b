package store_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/backend/memory"
	"navarch.dev/navarch/services/store/storetest"
)

// small is a backend whose space can be used up: until a compaction makes room,
// if it does.
type small struct {
	backend.Backend

	mu          sync.Mutex // guards what follows
	full        bool
	compactions int
	makeRoom    bool
}

func (b *small) set(full, makeRoom bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.full, b.makeRoom = full, makeRoom
}

func (b *small) compacted() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.compactions
}

func (b *small) Commit(ctx context.Context, ops ...backend.Op) (backend.Result, error) {
	b.mu.Lock()
	full := b.full
	b.mu.Unlock()
	for _, op := range ops {
		if full && op.Type == backend.Put && !op.Urgent {
			return backend.Result{}, backend.ErrNoSpace
		}
	}
	return b.Backend.Commit(ctx, ops...)
}

func (b *small) Compact(ctx context.Context, revision int64) error {
	b.mu.Lock()
	b.compactions++
	b.full = b.full && !b.makeRoom
	b.mu.Unlock()
	return b.Backend.Compact(ctx, revision)
}

// A Store whose backend is full refuses what would grow it, and takes renewals of
// Leases and deletions.
func TestNoSpace(t *testing.T) {
	b := &small{Backend: memory.New()}
	t.Cleanup(func() { _ = b.Close() })
	c := storetest.New(t, storetest.WithBackend(b)).Client(storetest.Admin())
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "node-1"}}
	held := configMap("held", nil)
	held.Finalizers = []string{"example.com/held"}
	held.Namespace = "default"
	create(t, c, lease)
	create(t, c, held)
	create(t, c, configMap("plain", nil))

	b.set(true, false)
	err := c.Create(t.Context(), configMap("new", nil))
	var status *apierrors.StatusError
	if !errors.As(err, &status) || status.ErrStatus.Code != http.StatusInsufficientStorage || status.ErrStatus.Reason != "InsufficientStorage" {
		t.Errorf("a creation ends with %v, want 507 InsufficientStorage", err)
	}
	lease.Spec.HolderIdentity = new("me")
	if err := c.Update(t.Context(), lease); err != nil {
		t.Errorf("a Lease is not renewed: %v", err)
	}
	if err := c.Delete(t.Context(), configMap("plain", nil), client.DeleteOptions{}); err != nil {
		t.Errorf("nothing can be deleted: %v", err)
	}
	if err := c.Delete(t.Context(), held, client.DeleteOptions{}); err != nil {
		t.Errorf("the deletion of what has finalizers does not begin: %v", err)
	}
	if err := c.Get(t.Context(), "default", "held", held); err != nil || held.DeletionTimestamp == nil {
		t.Errorf("what has finalizers is %+v, %v, want it to be deleted", held.ObjectMeta, err)
	}
	held.Finalizers = nil
	if err := c.Update(t.Context(), held); err != nil {
		t.Errorf("a finalizer is not taken away: %v", err)
	}
	if err := c.Get(t.Context(), "default", "held", held); !apierrors.IsNotFound(err) {
		t.Errorf("what was deleted is told with %v", err)
	}
}

// A write that finds no space has history dropped at once, but not by each such
// write.
func TestNoSpaceCompacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &small{Backend: memory.New()}
		defer func() { _ = b.Close() }()
		c := storetest.New(t, storetest.WithBackend(b)).Client(storetest.Admin())
		b.set(true, false)
		for range 3 {
			if err := c.Create(t.Context(), configMap("a", nil)); err == nil {
				t.Fatal("there is space")
			}
			synctest.Wait()
		}
		if n := b.compacted(); n != 1 {
			t.Errorf("after three writes without space there were %d compactions, want 1", n)
		}
		b.set(true, true)
		time.Sleep(10 * time.Second)
		if err := c.Create(t.Context(), configMap("a", nil)); err == nil {
			t.Fatal("there is space before it is made")
		}
		synctest.Wait()
		if err := c.Create(t.Context(), configMap("a", nil)); err != nil {
			t.Errorf("after a compaction that made room: %v", err)
		}
	})
}
