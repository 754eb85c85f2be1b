// Package fence holds the time at which a node's agent last heard of the Store,
// where the shims of its pods see it: when that is too long ago, they stop the
// pods, whether the agent still runs or not.
//
// It is one word of a file in memory that the agent and all shims of a node have
// mapped, so that a renewal is one store and costs the same for any number of
// pods. Times are the machine's CLOCK_BOOTTIME: it is the same in all processes,
// is set by nobody, and goes on while the machine sleeps.
package fence

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// lifted is the word of a fence that stops nothing.
const lifted = -1

// size is the file's: one word.
const size = 8

// Fence is a node's fence. A new one is closed: the node has not been heard of.
type Fence struct {
	word *int64
	data []byte
}

// Open maps the fence in the file, which it makes if create is given.
func Open(path string, create bool) (*Fence, error) {
	flags := os.O_RDWR
	if create {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the fence: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open the fence: %w", err)
	}
	if info.Size() < size {
		if !create {
			return nil, fmt.Errorf("open the fence: %s has %d bytes, not %d", path, info.Size(), size)
		}
		if err := f.Truncate(size); err != nil {
			return nil, fmt.Errorf("make the fence: %w", err)
		}
	}
	data, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the fence: %w", err)
	}
	return &Fence{word: (*int64)(unsafe.Pointer(&data[0])), data: data}, nil
}

// Close gives the mapping back; the fence must not be used any more.
func (f *Fence) Close() error { return unix.Munmap(f.data) }

// Now reads the clock that the fence's times are of.
func Now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return time.Duration(1<<63 - 1) // no clock: every deadline is over
	}
	return time.Duration(ts.Nano())
}

// Renew notes that the Store answered what was sent at a time. An earlier time
// than the one noted changes nothing.
func (f *Fence) Renew(at time.Duration) {
	for {
		old := atomic.LoadInt64(f.word)
		if old >= int64(at) || atomic.CompareAndSwapInt64(f.word, old, int64(at)) {
			return
		}
	}
}

// Lift makes the fence stop nothing until it is renewed.
func (f *Fence) Lift() { atomic.StoreInt64(f.word, lifted) }

// Begun says whether the fence has been renewed, and not lifted since.
func (f *Fence) Begun() bool { return atomic.LoadInt64(f.word) > 0 }

// Left returns how long it is at the time now until pods that may run for so
// long without a renewal must have ended; not bounded if the fence is lifted.
func (f *Fence) Left(now, after time.Duration) (left time.Duration, bounded bool) {
	switch renewed := atomic.LoadInt64(f.word); renewed {
	case lifted:
		return 0, false
	case 0: // never
		return -1, true
	default:
		return time.Duration(renewed) + after - now, true
	}
}
