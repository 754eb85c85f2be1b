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
	// busyRate is how many bytes are allocated in a second where there is much to do:
	// the usual collections would take some percent of a core. calmAfter is how long
	// after a collection it is looked whether that is still so, and again after half of
	// it as long as it is.
	busyRate  = 16 << 20
	calmAfter = 5 * time.Second
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
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}}
	p := newPacer(func() (live, allocated uint64) {
		metrics.Read(samples)
		return samples[0].Value.Uint64(), samples[1].Value.Uint64()
	})
	afterCollections(ctx, p.collected)
}

// pacer decides by how much the heap grows until the next collection. A burst of
// work gets more; what it took is given back when it is over.
type pacer struct {
	// heap returns how many bytes live, and how many were ever allocated.
	heap    func() (live, allocated uint64)
	set     func(percent int)
	release func() // collects, and gives free memory back

	mu      sync.Mutex // guards the fields below, and calls of heap
	percent int
	// looked is when it was last looked how many bytes had been allocated.
	looked    time.Time
	allocated uint64
	calm      *time.Timer
}

func newPacer(heap func() (live, allocated uint64)) *pacer {
	return &pacer{heap: heap, set: func(percent int) { debug.SetGCPercent(percent) }, release: debug.FreeOSMemory, percent: usualPercent}
}

// look returns how many bytes live, and whether there was much to do since it was
// called last. The caller holds mu.
func (p *pacer) look() (live uint64, busy bool) {
	live, allocated := p.heap()
	busy = float64(allocated-p.allocated) >= busyRate*time.Since(p.looked).Seconds()
	p.looked, p.allocated = time.Now(), allocated
	return live, busy
}

// collected is called after each collection.
func (p *pacer) collected() {
	p.mu.Lock()
	defer p.mu.Unlock()
	live, busy := p.look()
	p.adopt(percentOf(live, busy || p.calm != nil))
	switch {
	case !busy:
	case p.calm != nil:
		p.calm.Reset(calmAfter)
	case percentOf(live, true) > percentOf(live, false): // else there is nothing to give back
		p.calm = time.AfterFunc(calmAfter, p.calmed)
	}
}

// calmed is called a while after a collection in a burst. The burst need not be over:
// collections of a heap that may grow by much are rare.
func (p *pacer) calmed() {
	p.mu.Lock()
	live, busy := p.look()
	if busy {
		p.calm.Reset(calmAfter / 2)
		p.mu.Unlock()
		return
	}
	p.calm = nil
	p.adopt(percentOf(live, false))
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
