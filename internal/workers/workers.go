// Package workers runs short pieces of work on goroutines that are used again.
//
// A new goroutine's stack is small; to make it as large as a write of the API needs
// takes four copies, and a tenth of the write's processor time. A worker's stack has
// grown.
package workers

import "sync/atomic"

// Kept is how many idle workers a pool keeps.
const Kept = 64

// Pool is workers that do one thing after the other. It does not bound how many work
// at once.
type Pool struct {
	tasks    chan func()
	idle     atomic.Int32
	stopping chan struct{}
}

// New returns a pool that has no workers yet.
func New() *Pool {
	return &Pool{tasks: make(chan func()), stopping: make(chan struct{})}
}

// Do lets a worker do the work, which must not panic, and does not wait for it.
func (p *Pool) Do(work func()) {
	select {
	case p.tasks <- work:
	default:
		go p.serve(work)
	}
}

// Stop ends idle workers, and others when they become idle. It is called once; the
// pool can be used further, but keeps nobody.
func (p *Pool) Stop() { close(p.stopping) }

func (p *Pool) serve(work func()) {
	for {
		work()
		if p.idle.Add(1) > Kept {
			p.idle.Add(-1)
			return
		}
		select {
		case work = <-p.tasks:
			p.idle.Add(-1)
		case <-p.stopping:
			return
		}
	}
}
