package server

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fakeWord is a fence that a test renews.
type fakeWord struct{ renewed atomic.Int64 }

func (w *fakeWord) Left(now, after time.Duration) (time.Duration, bool) {
	renewed := w.renewed.Load()
	return time.Duration(renewed) + after - now, renewed >= 0
}

// guarded is a guard over one process, in a synctest bubble.
type guarded struct {
	*guard
	word  *fakeWord
	start time.Time

	mu      sync.Mutex
	running bool
	asked   int
	killed  []time.Duration
}

const (
	testAfter = 5 * time.Second
	testGrace = time.Second
)

func newGuarded(t *testing.T) *guarded {
	g := &guarded{word: &fakeWord{}, start: time.Now(), running: true}
	g.guard = newGuard(g.clock, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.asked++
	}, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.running {
			g.killed = append(g.killed, g.clock())
		}
		was := g.running
		g.running = false
		return was
	})
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop); synctest.Wait() })
	go g.run(stop)
	g.set(g.word, testAfter, testGrace)
	return g
}

func (g *guarded) clock() time.Duration { return time.Since(g.start) }

func (g *guarded) state() (running bool, asked int) {
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.running, g.asked
}

func (g *guarded) begin() {
	g.mu.Lock()
	g.running = true
	g.mu.Unlock()
	g.look()
}

func TestGuardStopsWhatIsNotRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t)
		for range 10 {
			time.Sleep(3 * time.Second)
			g.word.renewed.Store(int64(g.clock()))
		}
		if running, asked := g.state(); !running || asked > 0 {
			t.Fatalf("renewed in time: running %v, asked to end %d times", running, asked)
		}
		time.Sleep(testAfter - testGrace)
		if running, asked := g.state(); !running || asked != 1 || !g.closed() {
			t.Errorf("about to close: running %v, asked to end %d times, closed %v", running, asked, g.closed())
		}
		time.Sleep(testGrace)
		if running, _ := g.state(); running {
			t.Error("it runs under a closed fence")
		}
		g.begin() // as a start that was under way would
		if running, _ := g.state(); running {
			t.Error("what came under the closed fence runs")
		}
		g.word.renewed.Store(int64(g.clock()))
		g.begin()
		time.Sleep(testAfter - testGrace - 1)
		if running, _ := g.state(); !running || g.closed() {
			t.Error("the fence did not open again")
		}
	})
}

func TestGuardWithoutFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t)
		g.word.renewed.Store(-1)
		g.look()
		time.Sleep(time.Hour)
		if running, asked := g.state(); !running || asked > 0 {
			t.Errorf("lifted: running %v, asked %d times", running, asked)
		}
		g.set(g.word, -time.Hour, testGrace)
		if running, _ := g.state(); !running {
			t.Error("a lifted fence closed")
		}
		g.set(nil, 0, 0)
		g.word.renewed.Store(0)
		time.Sleep(time.Hour)
		if running, _ := g.state(); !running || g.closed() {
			t.Error("a pod without a fence was stopped")
		}
		g.set(g.word, testAfter, testGrace)
		if running, _ := g.state(); running {
			t.Error("a fence that had closed did not stop what was put under it")
		}
	})
}

// TestGuardNeverLate renews at random times, often late or not at all: nothing
// may run once the time since the renewal that the guard could know of is over.
func TestGuardNeverLate(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			g := newGuarded(t)
			for range 100 {
				time.Sleep(time.Duration(random.Int64N(int64(2 * time.Second))))
				if random.IntN(3) == 0 {
					// An answer that was long under way: it counts from when it was asked for.
					sent := g.clock() - time.Duration(random.Int64N(int64(4*time.Second)))
					if int64(sent) > g.word.renewed.Load() {
						g.word.renewed.Store(int64(sent))
					}
				}
				if random.IntN(4) == 0 && !g.closed() {
					g.begin()
				}
				running, _ := g.state()
				if left, _ := g.word.Left(g.clock(), testAfter); running && left <= 0 {
					t.Fatalf("seed %d: it runs %v after it must have ended", seed, -left)
				}
			}
		})
	}
}
