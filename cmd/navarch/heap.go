package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
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
)

// percentOf returns by how much a heap may grow in which so many bytes live.
func percentOf(live uint64) int {
	return int(max(leastPercent, min(usualPercent, 100*freeGrowth/max(live, 1))))
}

// boundHeap keeps the heap's growth within bounds until ctx ends, unless GOGC or
// GOMEMLIMIT say what is wanted.
func boundHeap(ctx context.Context) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	now := usualPercent
	afterCollections(ctx, func() {
		metrics.Read(live)
		if want := percentOf(live[0].Value.Uint64()); want != now {
			now = want
			debug.SetGCPercent(want)
		}
	})
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
