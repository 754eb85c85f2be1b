package rest

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

func TestWorkersServeAtOnceAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopping := make(chan struct{})
		ws := newWorkers(stopping)
		const most = 3 * keptWorkers
		release := make(chan struct{})
		var running, all sync.WaitGroup
		running.Add(most)
		for range most {
			all.Go(func() {
				ws.do(func() {
					running.Done()
					<-release
				})
			})
		}
		running.Wait() // however many there are, none waits for another
		close(release)
		all.Wait()
		synctest.Wait()
		if kept := ws.idle.Load(); kept != keptWorkers {
			t.Errorf("%d workers are kept, want %d", kept, keptWorkers)
		}
		done := false
		ws.do(func() { done = true })
		if !done {
			t.Error("do returned before its work was done")
		}
		close(stopping) // that all workers end is what the bubble waits for
		ws.do(func() { done = false })
		if done {
			t.Error("nothing is served while stopping")
		}
	})
}

func TestPanicsReachTheRequest(t *testing.T) {
	stopping := make(chan struct{})
	defer close(stopping)
	ws := newWorkers(stopping)
	caught := func(work func()) (p any) {
		defer func() { p = recover() }()
		ws.do(work)
		return nil
	}
	var nothing *http.Request
	for name, work := range map[string]func(){
		"a value": func() { panic("on purpose") },
		"a fault": func() { _ = nothing.Method },
	} {
		p, ok := caught(work).(*Panic)
		if !ok || p.String() == "" || !strings.Contains(string(p.Stack), "workers_test.go") {
			t.Errorf("%s: the request panics with %v, want a Panic with the work's stack", name, p)
		}
	}
	if p, ok := caught(func() { panic(http.ErrAbortHandler) }).(error); !ok || !errors.Is(p, http.ErrAbortHandler) {
		t.Errorf("a handler that cuts its connection makes the request panic with %v", p)
	}
	if p := caught(func() {}); p != nil {
		t.Errorf("after panics: %v", p)
	}
}
