package etcd

import (
	"context"
	"runtime"
	"slices"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"navarch.dev/navarch/services/store/backend"
)

const (
	// singlesInFlight is how many transactions of one write etcd is asked for at a
	// time before others wait, and are put together. What was put together is sent
	// alone: beside it, others would go in small groups for as long as writes come
	// faster than etcd answers, each of which costs as much as a large one.
	singlesInFlight = 2
	// maxGroup is how many writes a group has at most, maxGroupOps how many
	// operations each of them, and maxGroupBytes how large they are together: below
	// what any etcd takes, and so little that nobody waits long for the others.
	maxGroup      = 64
	maxGroupOps   = 32
	maxGroupBytes = 256 << 10
)

// write is a transaction that somebody waits for.
type write struct {
	ops []backend.Op
	req *pb.TxnRequest
	// done is closed when result and err are there; nil for a write that does not
	// wait.
	done   chan struct{}
	result backend.Result
	err    error
}

func (w *write) finish(result backend.Result, err error) {
	w.result, w.err = result, err
	if w.done != nil {
		close(w.done)
	}
}

// bytes returns about how large the write is.
func (w *write) bytes() int {
	n := 0
	for _, op := range w.ops {
		n += 2*len(op.Key) + len(op.Value)
	}
	return n
}

// groups lets writes through, and puts those together that come while others are
// on their way: what a transaction costs etcd depends little on how much it
// writes.
type groups struct {
	// send asks etcd for the writes of a group and finishes them, before ctx ends.
	send func(ctx context.Context, group []*write)
	// sendWaiting does so in time of its own.
	sendWaiting func(group []*write)

	mu sync.Mutex // guards the fields below
	// inFlight is how many groups are on their way, together says that it is one of
	// several writes.
	inFlight int
	together bool
	waiting  []*write
}

// do sends a write, on this goroutine if it need not wait. If ctx ends before,
// what becomes of the write is unknown.
func (g *groups) do(ctx context.Context, w *write) (backend.Result, error) {
	if g.enter(w) {
		g.send(ctx, []*write{w})
		if g.more() {
			go g.drain()
		}
		return w.result, w.err
	}
	select {
	case <-w.done:
		return w.result, w.err
	case <-ctx.Done():
		g.abandon(w)
		return backend.Result{}, ctx.Err()
	}
}

// enter says whether a write may be sent at once. If not, it waits now.
func (g *groups) enter(w *write) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inFlight < singlesInFlight && !g.together && len(g.waiting) == 0 {
		g.inFlight++
		return true
	}
	w.done = make(chan struct{})
	g.waiting = append(g.waiting, w)
	return false
}

// abandon takes out a write that nobody waits for, if it has not been sent.
func (g *groups) abandon(w *write) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.waiting, w); i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
	}
}

// more says, after an answer of etcd, whether a group is to be sent in the place of
// what was answered: not if nobody waits, or if that is left to another one that is
// on its way.
func (g *groups) more() bool {
	// On busy processors there are writers that are ready to run and would come just
	// too late: each group is larger with them.
	runtime.Gosched()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.together = false
	if g.inFlight > 1 || len(g.waiting) == 0 {
		g.inFlight--
		return false
	}
	return true
}

// drain sends groups for as long as somebody waits.
func (g *groups) drain() {
	for {
		if group := g.next(); len(group) > 0 {
			g.sendWaiting(group)
		}
		if !g.more() {
			return
		}
	}
}

// next returns the next group.
func (g *groups) next() []*write {
	g.mu.Lock()
	defer g.mu.Unlock()
	var taken group
	left := g.waiting[:0]
	for _, w := range g.waiting {
		if !taken.take(w) {
			left = append(left, w)
		}
	}
	clear(g.waiting[len(left):])
	g.waiting = left
	g.together = len(taken.writes) > 1
	return taken.writes
}

// group collects writes that do not concern each other: in whichever order they
// were done, each would find and leave behind the same.
type group struct {
	writes []*write
	bytes  int
	// keys holds the keys that are written (true) or only looked at (false), slots
	// those of the keys that are written.
	keys  map[string]bool
	slots map[int64]bool
}

// take adds a write, if it fits in.
func (g *group) take(w *write) bool {
	size := w.bytes()
	switch {
	case len(g.writes) == 0: // it may be as large as it likes, alone
		g.keys, g.slots = make(map[string]bool), make(map[int64]bool)
	case len(g.writes) == maxGroup, g.bytes+size > maxGroupBytes:
		return false
	case len(w.ops) > maxGroupOps, len(g.writes[0].ops) > maxGroupOps:
		return false
	case !g.apart(w):
		return false
	}
	g.writes, g.bytes = append(g.writes, w), g.bytes+size
	for _, op := range w.ops {
		written := op.Type != backend.Check
		g.keys[op.Key] = g.keys[op.Key] || written
		if written {
			g.slots[slotOf(op.Key)] = true
		}
	}
	return true
}

// apart says whether a write neither changes what the group looks at nor looks at
// what the group changes, and its changes can be told from the group's.
func (g *group) apart(w *write) bool {
	return !slices.ContainsFunc(w.ops, func(op backend.Op) bool {
		written, known := g.keys[op.Key]
		if op.Type == backend.Check {
			return written
		}
		return known || g.slots[slotOf(op.Key)]
	})
}
