package etcd

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"
)

// sinceBoot tells the time since the machine started, with what it slept.
func sinceBoot() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(fmt.Sprintf("read the clock of the time since boot: %v", err)) // every Linux since 2.6.39 has it
	}
	return time.Duration(t.Nano())
}

// saw notes one of etcd's revisions whose state somebody has been, or may be, told of.
func (r *roster) saw(revision int64) { raise(&r.newest, revision) }

// doubt notes that it is not known what became of a write: only etcd knows then what
// is newest.
func (r *roster) doubt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.aloneTill.Store(0)
}

// revision returns etcd's newest revision: from memory while this Store is alone.
func (r *roster) revision(ctx context.Context) (int64, error) {
	if newest, ok := r.known(r.newest.Load); ok {
		return newest, nil
	}
	return r.ask(ctx)
}

// known returns the newest revision of what this Store has changed or been shown, as
// newest tells it, if that is all there is because it is alone.
func (r *roster) known(newest func() int64) (int64, bool) {
	// In this order: what was there before this Store was alone is in aloneSince, and
	// what newest tells was all there was since, if it is still alone after that.
	till := r.aloneTill.Load()
	revision := max(r.aloneSince.Load(), newest())
	left := time.Duration(till) - r.now()
	if left <= 0 {
		return 0, false
	}
	if left < r.lease/2 && r.renewing.CompareAndSwap(false, true) {
		go r.askAgain()
	}
	return revision, true
}

// askAgain asks before the Store ceases to take its own word.
func (r *roster) askAgain() {
	defer r.renewing.Store(false)
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	_, _ = r.ask(ctx) // if that fails, the next to ask are told why
}

// ask asks etcd for its newest revision and for who is registered.
func (r *roster) ask(ctx context.Context) (int64, error) {
	for {
		own, err := r.registered(ctx)
		if err != nil {
			return 0, err
		}
		asked := r.now()
		resp, err := r.kv.Range(ctx, inRoster())
		if err != nil {
			return 0, clientv3.ContextError(ctx, err)
		}
		r.saw(resp.GetHeader().GetRevision())
		others := others(resp, own)
		if len(others) == len(resp.GetKvs()) {
			r.leave(own)
			continue
		}
		r.found(own, asked, resp.GetHeader().GetRevision(), len(others) == 0)
		return resp.GetHeader().GetRevision(), nil
	}
}

// found notes the answer to a question: whether this Store is alone, and etcd's
// revision then.
func (r *roster) found(own *registration, asked time.Duration, revision int64, alone bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !alone || r.lease == 0 || r.current != own {
		r.aloneTill.Store(0)
		return
	}
	till := r.aloneTill.Load()
	if till <= int64(r.now()) { // others may have come and gone since
		till = 0
		r.aloneSince.Store(revision)
	}
	r.aloneTill.Store(max(till, min(int64(asked+r.lease), own.heldTill.Load())))
}
