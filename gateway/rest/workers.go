package rest

import (
	"fmt"
	"net/http"
	"runtime/debug"
	"sync/atomic"
)

// keptWorkers is how many idle workers are kept.
const keptWorkers = 64

// workers are goroutines on which requests are served one after the other. An
// HTTP/2 server begins a goroutine for every request, whose stack is small; to
// make it as large as a write needs takes four copies, and a tenth of the
// write's processor time. Workers' stacks have grown.
type workers struct {
	tasks    chan task
	idle     atomic.Int32
	stopping <-chan struct{}
}

// newWorkers returns workers that end, once idle, when stopping is closed.
func newWorkers(stopping <-chan struct{}) *workers {
	return &workers{tasks: make(chan task), stopping: stopping}
}

type task struct {
	work func()
	// done takes what the work panicked with, nil if it did not.
	done chan any
}

// do runs work on a worker and returns when it is done. If work panics, so does
// do: with a *Panic, or with http.ErrAbortHandler, which cuts the connection.
func (ws *workers) do(work func()) {
	t := task{work: work, done: make(chan any, 1)}
	select {
	case ws.tasks <- t:
	default:
		go ws.serve(t)
	}
	if p := <-t.done; p != nil {
		panic(p)
	}
}

func (ws *workers) serve(t task) {
	for {
		t.run()
		if ws.idle.Add(1) > keptWorkers {
			ws.idle.Add(-1)
			return
		}
		select {
		case t = <-ws.tasks:
			ws.idle.Add(-1)
		case <-ws.stopping:
			return
		}
	}
}

func (t task) run() {
	defer func() {
		p := recover()
		if p != nil && p != http.ErrAbortHandler { //nolint:errorlint // who cuts a connection panics with this very value
			p = &Panic{Value: p, Stack: debug.Stack()}
		}
		t.done <- p
	}()
	t.work()
}

// Panic is what a request's work panicked with, and where.
type Panic struct {
	Value any
	Stack []byte
}

// String implements fmt.Stringer.
func (p *Panic) String() string { return fmt.Sprint(p.Value) }
