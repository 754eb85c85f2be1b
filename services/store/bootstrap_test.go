package store_test

import (
	"context"
	"testing"

	"golang.org/x/sync/errgroup"

	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/store"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/backend/memory"
)

// Stores that start together on an empty backend make the first objects
// together, and none of them fails for what another has made.
func TestStoresStartTogether(t *testing.T) {
	for range 20 {
		b := memory.New()
		ctx, cancel := context.WithCancel(t.Context())
		group, ctx := errgroup.WithContext(ctx)
		var stores []*store.Store
		for range 4 {
			s, err := store.New(store.DefaultConfig(), telemetry.Discard("store"), b, func(access.Reader) (access.Control, error) {
				return access.Control{Authorizer: unlessEvents{}}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			stores = append(stores, s)
			group.Go(func() error { return s.Run(ctx) })
		}
		for _, s := range stores {
			select {
			case <-s.Ready():
			case <-ctx.Done(): // one has ended
			}
		}
		cancel()
		if err := group.Wait(); err != nil {
			t.Fatalf("a store ended: %v", err)
		}
		_ = b.Close()
	}
}
