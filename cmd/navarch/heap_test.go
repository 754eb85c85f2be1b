package main

import (
	"context"
	"runtime"
	"testing"
)

func TestHeapsMayGrow(t *testing.T) {
	for live, want := range map[uint64]int{0: 100, 50 << 20: 100, 512 << 20: 100, 800 << 20: 64, 1 << 30: 50, 2 << 30: 40, 20 << 30: 40} {
		if got := percentOf(live); got != want {
			t.Errorf("a heap of %d MiB may grow by %d %%, want %d", live>>20, got, want)
		}
	}
}

func TestEveryCollectionIsNoticed(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	noticed := make(chan struct{})
	afterCollections(ctx, func() {
		select {
		case noticed <- struct{}{}:
		case <-ctx.Done():
		}
	})
	for range 3 {
		runtime.GC()
		select {
		case <-noticed:
		case <-t.Context().Done():
			t.Fatal("a collection was not noticed")
		}
	}
	cancel()
}
