package main

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestHeapsMayGrow(t *testing.T) {
	for live, want := range map[uint64]int{0: 100, 50 << 20: 100, 512 << 20: 100, 800 << 20: 64, 1 << 30: 50, 2 << 30: 40, 20 << 30: 40} {
		if got := percentOf(live, false); got != want {
			t.Errorf("a heap of %d MiB may grow by %d %%, want %d", live>>20, got, want)
		}
	}
	for live, want := range map[uint64]int{0: 400, 50 << 20: 400, 256 << 20: 200, 512 << 20: 100, 1 << 30: 50, 20 << 30: 40} {
		if got := percentOf(live, true); got != want {
			t.Errorf("a busy heap of %d MiB may grow by %d %%, want %d", live>>20, got, want)
		}
	}
}

// pacerOf returns the pacer of a heap of a size, what is allocated, and what it has
// set and how often it has released.
func pacerOf(live uint64) (p *pacer, allocated *atomic.Uint64, percent, released *atomic.Int64) {
	allocated, percent, released = new(atomic.Uint64), new(atomic.Int64), new(atomic.Int64)
	percent.Store(usualPercent)
	p = newPacer(func() (uint64, uint64) { return live, allocated.Load() })
	p.set, p.release = func(to int) { percent.Store(int64(to)) }, func() { released.Add(1) }
	return p, allocated, percent, released
}

// Collections of a small heap, and what it may grow by after each:
//
//	little to do   much   much   much, but no collection   little for a while   little
//	     100 ────── 400 ── 400 ─────────── 400 ────────────── 100, released ────── 100
func TestBurstsMayGrowMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, allocated, percent, released := pacerOf(50 << 20)
		steps := []struct {
			wait     time.Duration
			rate     uint64 // of what is allocated meanwhile, in a second
			collect  bool
			percent  int64
			released int64
		}{
			{time.Hour, busyRate / 100, true, 100, 0},
			{5 * time.Second, busyRate - 1, true, 100, 0},
			{2 * time.Second, busyRate, true, 400, 0},
			{time.Second, busyRate, true, 400, 0},
			{calmAfter - time.Millisecond, 2 * busyRate, true, 400, 0}, // not calm yet
			{calmAfter + time.Millisecond, 2 * busyRate, false, 400, 0},
			{calmAfter/2 - 2*time.Millisecond, busyRate / 2, false, 400, 0},
			{2 * time.Millisecond, busyRate / 2, false, 100, 1},
			{time.Hour, busyRate / 100, true, 100, 1},
			{time.Hour, busyRate / 100, false, 100, 1},
		}
		for n, s := range steps {
			allocated.Add(s.rate * uint64(s.wait/time.Millisecond) / 1000)
			time.Sleep(s.wait)
			if s.collect {
				p.collected()
			}
			synctest.Wait()
			if percent.Load() != s.percent || released.Load() != s.released {
				t.Fatalf("step %d: the heap may grow by %d %% and was released %d times, want %d and %d",
					n, percent.Load(), released.Load(), s.percent, s.released)
			}
		}
	})
}

// A large heap gets no more in a burst, so that nothing is given back after it:
// to look for that would cost a collection of all of it.
func TestLargeHeapsAreLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, allocated, percent, released := pacerOf(1 << 30)
		for range 3 {
			p.collected()
			allocated.Add(busyRate)
			time.Sleep(time.Second)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if percent.Load() != 50 || released.Load() != 0 {
			t.Errorf("a heap of 1 GiB may grow by %d %% and was released %d times, want 50 and 0", percent.Load(), released.Load())
		}
	})
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
