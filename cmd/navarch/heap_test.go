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
		if got := percentOf(live, calm); got != want {
			t.Errorf("a heap of %d MiB may grow by %d %%, want %d", live>>20, got, want)
		}
	}
	for live, want := range map[uint64]int{0: 400, 50 << 20: 400, 256 << 20: 200, 512 << 20: 100, 1 << 30: 50, 20 << 30: 40} {
		if got := percentOf(live, busy); got != want {
			t.Errorf("a busy heap of %d MiB may grow by %d %%, want %d", live>>20, got, want)
		}
	}
	for live, want := range map[uint64]int{0: 100, 63 << 20: 100, 64 << 20: 400, 128 << 20: 200, 256 << 20: 100, 512 << 20: 100, 1 << 30: 50, 20 << 30: 40} {
		if got := percentOf(live, rested); got != want {
			t.Errorf("a heap of %d MiB may grow by %d %% after a burst, want %d", live>>20, got, want)
		}
	}
}

// pacing is the pacer of a heap of a size, what is allocated, and what the pacer has
// set and how often it has collected and released.
type pacing struct {
	*pacer
	allocated                    atomic.Uint64
	percent, collected, released atomic.Int64
}

func paced(live uint64) *pacing {
	p := new(pacing)
	p.percent.Store(usualPercent)
	p.pacer = newPacer(func() (uint64, uint64) { return live, p.allocated.Load() })
	p.set = func(to int) { p.percent.Store(int64(to)) }
	p.collect = func() { p.collected.Add(1); p.pacer.collected() }
	p.release = func() { p.released.Add(1); p.pacer.collected() }
	return p
}

// paceStep is what happens to a heap, and what its pacer makes of it.
type paceStep struct {
	wait    time.Duration
	rate    uint64 // of what is allocated meanwhile, in a second
	collect bool   // by the runtime, at the end

	percent, collected, released int64 // after it
}

func (p *pacing) run(t *testing.T, steps []paceStep) {
	for n, s := range steps {
		p.allocated.Add(s.rate * uint64(s.wait/time.Millisecond) / 1000)
		time.Sleep(s.wait)
		if s.collect {
			p.pacer.collected()
		}
		synctest.Wait()
		if percent, collected, released := p.percent.Load(), p.collected.Load(), p.released.Load(); percent != s.percent || collected != s.collected || released != s.released {
			t.Fatalf("step %d: the heap may grow by %d %%, was collected %d times and released %d times, want %d, %d and %d",
				n, percent, collected, released, s.percent, s.collected, s.released)
		}
	}
}

// Collections of a small heap, and what it may grow by after each:
//
//	little to do   much   much   much, but no collection   little for a while   little
//	     100 ────── 400 ── 400 ─────────── 400 ────────────── 100, released ────── 100
func TestBurstsMayGrowMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		paced(50<<20).run(t, []paceStep{
			{time.Hour, busyRate / 100, true, 100, 0, 0},
			{5 * time.Second, busyRate - 1, true, 100, 0, 0},
			{2 * time.Second, busyRate, true, 400, 0, 0},
			{time.Second, busyRate, true, 400, 0, 0},
			{calmAfter - time.Millisecond, 2 * busyRate, true, 400, 0, 0}, // not calm yet
			{calmAfter + time.Millisecond, 2 * busyRate, false, 400, 0, 0},
			{calmAfter/2 - 2*time.Millisecond, busyRate / 2, false, 400, 0, 0},
			{2 * time.Millisecond, busyRate / 2, false, 100, 0, 1},
			{time.Hour, busyRate / 100, true, 100, 0, 1},
			{time.Hour, busyRate / 100, false, 100, 0, 1},
		})
	})
}

// A larger heap keeps some of what a burst took for the next one:
//
//	much   little for a while   much, but no collection   little   little for long
//	 400 ─── 200, collected ──────────── 200 ──────────── collected ── 100, released
func TestBurstsLeaveRoomForTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		paced(128<<20).run(t, []paceStep{
			{time.Hour, 0, true, 100, 0, 0},
			{time.Second, busyRate, true, 400, 0, 0},
			{calmAfter + time.Millisecond, busyRate / 2, false, 200, 1, 0},
			{restLook, uint64(leftBehind * time.Second / restLook), false, 200, 1, 0}, // the next, without a collection
			{restLook, 2 * busyRate, false, 200, 1, 0},
			{restLook, 0, false, 200, 2, 0},
			{restLook * 3 / 4, 3 * busyRate, true, 400, 2, 0}, // the one after it, with one
			{calmAfter + time.Millisecond, busyRate / 2, false, 200, 3, 0},
			{time.Minute, busyRate / 100, true, 200, 3, 0},
			{keptFor - time.Minute - 2*time.Second, busyRate / 300, false, 200, 3, 0},
			{3 * time.Second, 0, false, 100, 3, 1},
			{time.Hour, busyRate / 100, true, 100, 3, 1},
			{time.Second, busyRate, true, 400, 3, 1},
		})
	})
}

// A large heap gets no more in a burst, so that nothing is given back after it:
// to look for that would cost a collection of all of it.
func TestLargeHeapsAreLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := paced(1 << 30)
		for range 3 {
			p.run(t, []paceStep{{time.Second, busyRate, true, 50, 0, 0}})
		}
		p.run(t, []paceStep{{time.Hour, 0, false, 50, 0, 0}})
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
