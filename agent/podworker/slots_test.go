package podworker

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

func TestSlotsBoundWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, held := make(slots, 2), make(chan struct{})
		var mu sync.Mutex
		var begun int
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				_ = s.run(t.Context(), func() error {
					mu.Lock()
					begun++
					mu.Unlock()
					<-held
					return nil
				})
			})
		}
		synctest.Wait()
		if begun != 2 {
			t.Errorf("%d are under way, want 2", begun)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.run(gone, func() error { t.Error("it ran though nobody waits for it"); return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("error = %v, want %v", err, context.Canceled)
		}
		close(held)
		wg.Wait()
		if begun != 5 {
			t.Errorf("%d have been under way, want all 5", begun)
		}
	})
}
