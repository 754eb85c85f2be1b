package server

import (
	"io/fs"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"navarch.dev/navarch/agent/fence"
	"navarch.dev/navarch/agent/shim"
)

// killPeriod is how often containers are killed that a closed fence finds
// running still: a process may have been on its way into one.
const killPeriod = 100 * time.Millisecond

// word is the part of a fence that a guard reads. *fence.Fence implements it.
type word interface {
	Left(now, after time.Duration) (left time.Duration, bounded bool)
}

// guard watches a fence for the pod: it asks the containers to end when the
// fence is about to close, and kills them when it has closed.
type guard struct {
	now  func() time.Duration
	warn func()
	// kill ends what runs and says whether there was anything.
	kill  func() bool
	wakes chan struct{}

	mu           sync.Mutex // guards what follows
	word         word
	after, grace time.Duration
}

func newGuard(now func() time.Duration, warn func(), kill func() bool) *guard {
	return &guard{now: now, warn: warn, kill: kill, wakes: make(chan struct{}, 1)}
}

// set puts the pod under a fence; a nil word is none.
func (g *guard) set(w word, after, grace time.Duration) {
	g.mu.Lock()
	g.word, g.after, g.grace = w, after, grace
	g.mu.Unlock()
	g.look()
}

// look has the guard read the fence now.
func (g *guard) look() {
	select {
	case g.wakes <- struct{}{}:
	default:
	}
}

// left returns how long it is until the containers are asked to end, and until
// they must have ended; not bounded without a fence, or if it is lifted.
func (g *guard) left() (ask, end time.Duration, bounded bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.word == nil {
		return 0, 0, false
	}
	end, bounded = g.word.Left(g.now(), g.after)
	return end - g.grace, end, bounded
}

// closed says that nothing may be started: it would have to end at once.
func (g *guard) closed() bool {
	ask, _, bounded := g.left()
	return bounded && ask <= 0
}

// run guards until stop is closed. Each look sets the time of the next one, so
// that renewals, which only the fence's word tells of, cost nothing here.
func (g *guard) run(stop <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	asked := false
	for {
		select {
		case <-stop:
			return
		case <-g.wakes:
		case <-timer.C:
		}
		timer.Stop()
		ask, end, bounded := g.left()
		switch {
		case !bounded: // whoever closes it again tells
			asked = false
		case ask > 0:
			asked = false
			timer.Reset(ask)
		case end > 0:
			if !asked {
				asked = true
				g.warn()
			}
			timer.Reset(end)
		case g.kill():
			timer.Reset(killPeriod)
		}
	}
}

// setFence puts the pod under the fence of a file.
func (s *Server) setFence(opts *shim.FenceOptions) error {
	if opts == nil {
		s.fence.set(nil, 0, 0)
		return nil
	}
	f, err := fence.Open(opts.Path, false)
	if err != nil {
		return err
	}
	s.fence.set(f, opts.After, opts.Grace) // an older mapping stays: somebody may be reading it
	return nil
}

// open refuses what would start a process under a closed fence.
func (s *Server) open() error {
	if s.fence.closed() {
		return &shim.Error{Code: shim.CodeFenced, Message: "the node has not heard of the cluster for too long: nothing may run here until it does"}
	}
	return nil
}

// warn asks the containers to end.
func (s *Server) warn() {
	for _, c := range s.all() {
		_ = c.kill(syscall.SIGTERM)
	}
}

// killFenced kills all processes of all containers, and says whether there were
// any.
func (s *Server) killFenced() bool {
	found := false
	for _, c := range s.all() {
		if c.snapshot().Status == shim.StatusExited {
			continue
		}
		found = true
		c.mu.Lock()
		c.fenced = true
		c.mu.Unlock()
		_ = c.kill(syscall.SIGKILL)
		killTree(c.opts.CgroupDir)
	}
	return found
}

// killTree kills what is in a cgroup and in those that the container has made
// below it.
func killTree(cgroup string) {
	if cgroup == "" {
		return
	}
	_ = filepath.WalkDir(cgroup, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			killAll(path)
		}
		return nil // one that is gone has nothing to kill
	})
}
