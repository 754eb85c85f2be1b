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
	// lookLeast is the shortest time that tells a rate.
	lookLeast = 100 * time.Millisecond

	// keptGrowth is how many bytes of what a burst took are kept for keptFor after it.
	// Where there was one there will be another, and to touch memory that the system
	// has just given costs more than to collect as much: 0.2 ms a MiB, on a virtual machine
	// whose own memory is given as it is touched 3 ms. A heap in which less than keptFrom
	// lives has small bursts.
	keptGrowth = 256 << 20
	keptFrom   = 64 << 20
	keptFor    = 5 * time.Minute
	// restLook is how often it is looked meanwhile whether there was another burst.
	// If it has allocated leftBehind bytes, and has not led to a collection, there is
	// one after it.
	restLook   = 250 * time.Millisecond
	leftBehind = 64 << 20
)

// load is how much there is to do.
type load int

const (
	calm   load = iota
	rested      // calm, after a burst
	busy
)

// percentOf returns by how much a heap may grow in which so many bytes live.
func percentOf(live uint64, l load) int {
	usual := int(max(leastPercent, min(usualPercent, 100*freeGrowth/max(live, 1))))
	switch {
	case l == busy:
		return max(usual, int(min(busyPercent, 100*freeGrowth/max(live, 1))))
	case l == rested && live >= keptFrom:
		return max(usual, int(min(busyPercent, 100*keptGrowth/live)))
	}
	return usual
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
// work gets more. What it took is given back when it is over: all at once, or first
// what is more than the next burst may want.
type pacer struct {
	// heap returns how many bytes live, and how many were ever allocated.
	heap    func() (live, allocated uint64)
	set     func(percent int)
	collect func()
	release func() // collects, and gives free memory back

	mu      sync.Mutex // guards the fields below, and calls of heap
	percent int
	load    load
	// looked is when it was last looked how many bytes had been allocated, swept how
	// many had been at the last collection.
	looked           time.Time
	allocated, swept uint64
	ease             *time.Timer // calls eased, while the load is not calm
	keep             time.Time   // until when what a burst took is kept
	again            bool        // there was much to do since the last collection
}

func newPacer(heap func() (live, allocated uint64)) *pacer {
	return &pacer{
		heap: heap, set: func(percent int) { debug.SetGCPercent(percent) },
		collect: runtime.GC, release: debug.FreeOSMemory, percent: usualPercent,
	}
}

// look returns how many bytes live, and whether there was much to do since it was
// called last. The caller holds mu.
func (p *pacer) look() (live uint64, much bool) {
	live, allocated := p.heap()
	since, more := time.Since(p.looked), allocated-p.allocated
	p.allocated = allocated
	if since < lookLeast {
		return live, p.load == busy
	}
	p.looked = time.Now()
	return live, float64(more) >= busyRate*since.Seconds()
}

// collected is called after each collection.
func (p *pacer) collected() {
	p.mu.Lock()
	defer p.mu.Unlock()
	live, much := p.look()
	p.swept, p.again = p.allocated, false
	if much && percentOf(live, busy) > percentOf(live, calm) { // else there is nothing to give back
		p.become(busy, calmAfter)
	}
	p.adopt(percentOf(live, p.load))
}

// become notes the load, and when it is to be looked whether it has eased. The
// caller holds mu.
func (p *pacer) become(l load, look time.Duration) {
	p.load = l
	switch {
	case l == calm:
	case p.ease == nil:
		p.ease = time.AfterFunc(look, p.eased)
	default:
		p.ease.Reset(look)
	}
}

// eased is called a while after a collection in a burst. The burst need not be over:
// collections of a heap that may grow by much are rare.
//
// What is kept after a burst is all free for the next one, if that does not come
// at once: what each leaves behind is collected.
func (p *pacer) eased() {
	p.mu.Lock()
	live, much := p.look()
	keeps := percentOf(live, rested) > percentOf(live, calm)
	after := func() {}
	switch {
	case p.load == busy && much:
		p.become(busy, calmAfter/2)
	case much:
		p.again = true
		p.become(rested, restLook)
	case keeps && (p.load == busy || p.again && p.allocated-p.swept >= leftBehind):
		p.keep = time.Now().Add(keptFor)
		p.become(rested, restLook)
		after = p.collect
	case keeps && time.Now().Before(p.keep):
		p.become(rested, restLook)
	default:
		p.become(calm, 0)
		after = p.release
	}
	p.adopt(percentOf(live, p.load))
	p.mu.Unlock()
	after()
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
