package h2

import "sync/atomic"

// keptWorkers is how many idle workers are kept.
const keptWorkers = 64

// workers are goroutines on which requests are served one after the other. A new
// goroutine's stack is small; to make it as large as a write of the API needs takes
// four copies, and a tenth of the write's processor time. Workers' stacks have grown.
type workers struct {
	tasks    chan func()
	idle     atomic.Int32
	stopping chan struct{}
}

func newWorkers() *workers {
	return &workers{tasks: make(chan func()), stopping: make(chan struct{})}
}

// do lets a worker do the work, which must not panic, and does not wait for it.
func (ws *workers) do(work func()) {
	select {
	case ws.tasks <- work:
	default:
		go ws.serve(work)
	}
}

// stop ends idle workers, and others when they become idle.
func (ws *workers) stop() { close(ws.stopping) }

func (ws *workers) serve(work func()) {
	for {
		work()
		if ws.idle.Add(1) > keptWorkers {
			ws.idle.Add(-1)
			return
		}
		select {
		case work = <-ws.tasks:
			ws.idle.Add(-1)
		case <-ws.stopping:
			return
		}
	}
}
