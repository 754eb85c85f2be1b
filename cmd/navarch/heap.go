package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	// usualPercent is what the Go runtime lets a heap grow by between two
	// collections.
	usualPercent = 100
	// freeGrowth is how many bytes of growth nobody minds. What holds more than
	// that is collected more often, so that a large cluster does not take twice
	// the memory of what there is in it.
	freeGrowth = 512 << 20
	// leastPercent bounds the processor time that collections take.
	leastPercent = 40

	// busyPercent is what a heap may grow by while there is much to do, by no more
	// than freeGrowth: collections are a fifth of the work of a small heap otherwise.
	busyPercent = 400
	// busyWithin is how soon collections follow one another where there is much
	// to do, and calmAfter how long after the last one there is not.
	busyWithin = time.Second
	calmAfter  = 5 * time.Second
)

// percentOf returns by how much a heap may grow in which so many bytes live.
func percentOf(live uint64, busy bool) int {
	usual := int(max(leastPercent, min(usualPercent, 100*freeGrowth/max(live, 1))))
	if !busy {
		return usual
	}
	return max(usual, int(min(busyPercent, 100*freeGrowth/max(live, 1))))
}

// boundHeap keeps the heap's growth within bounds until ctx ends, unless GOGC or
// GOMEMLIMIT say what is wanted.
func boundHeap(ctx context.Context) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	p := newPacer(func() uint64 {
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	})
	afterCollections(ctx, p.collected)
}

// pacer decides by how much the heap grows until the next collection. A burst of
// work gets more; what it took is given back when it is over.
type pacer struct {
	live    func() uint64
	set     func(percent int)
	release func() // collects, and gives free memory back

	mu      sync.Mutex // guards the fields below
	percent int
	last    time.Time // of a collection
	calm    *time.Timer
}

func newPacer(live func() uint64) *pacer {
	return &pacer{live: live, set: func(percent int) { debug.SetGCPercent(percent) }, release: debug.FreeOSMemory, percent: usualPercent}
}

// collected is called after each collection.
func (p *pacer) collected() {
	p.mu.Lock()
	defer p.mu.Unlock()
	busy := time.Since(p.last) < busyWithin
	p.last = time.Now()
	live := p.live()
	p.adopt(percentOf(live, busy || p.calm != nil))
	switch {
	case p.calm != nil:
		p.calm.Reset(calmAfter)
	case busy && percentOf(live, true) > percentOf(live, false): // else there is nothing to give back
		p.calm = time.AfterFunc(calmAfter, p.calmed)
	}
}

// calmed is called when there has been no collection for a while after a burst.
func (p *pacer) calmed() {
	p.mu.Lock()
	p.calm = nil
	p.adopt(percentOf(p.live(), false))
	p.mu.Unlock()
	p.release()
}

// adopt sets the percentage if it is another one. The caller holds mu.
func (p *pacer) adopt(percent int) {
	if percent != p.percent {
		p.percent = percent
		p.set(percent)
	}
}

// afterCollections calls f after every garbage collection until ctx ends, one
// call at a time. Between collections it costs nothing.
func afterCollections(ctx context.Context, f func()) {
	var mu sync.Mutex // one call at a time
	var arm func()
	arm = func() {
		// What could hold a pointer is not put together with other small objects.
		runtime.AddCleanup(new(*byte), func(int) {
			if ctx.Err() != nil {
				return
			}
			arm()
			mu.Lock()
			defer mu.Unlock()
			f()
		}, 0)
	}
	arm()
}
