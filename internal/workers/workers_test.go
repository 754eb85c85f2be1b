package workers_test

import (
	"sync"
	"testing"
	"testing/synctest"

	"navarch.dev/navarch/internal/workers"
)

// All work is done at once, however much there is, and again by those who have
// become idle; none is left once the pool is stopped, or the bubble would complain.
func TestPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := workers.New()
		for range 3 {
			var working, done sync.WaitGroup
			begun := make(chan struct{})
			for range 2 * workers.Kept {
				working.Add(1)
				done.Add(1)
				p.Do(func() {
					defer done.Done()
					working.Done()
					<-begun
				})
			}
			working.Wait() // all at once
			close(begun)
			done.Wait()
			synctest.Wait()
		}
		p.Stop()
		var last sync.WaitGroup
		last.Add(1)
		p.Do(last.Done)
		last.Wait()
	})
}
