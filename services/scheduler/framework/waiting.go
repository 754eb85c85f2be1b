package framework

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Waiting are the pods whose binding a Permit plugin holds up. Plugins let them
// go on by Allow, or end them by Reject. It is safe for concurrent use; the
// zero value is ready.
type Waiting struct {
	mu   sync.Mutex
	pods map[types.UID]chan *Status
}

// Allow lets a pod's binding go on and says whether the pod was waiting.
func (w *Waiting) Allow(uid types.UID) bool { return w.answer(uid, nil) }

// Reject ends a pod's wait with a rejection and says whether it was waiting.
func (w *Waiting) Reject(uid types.UID, plugin, reason string) bool {
	return w.answer(uid, NewStatus(Unschedulable, reason).By(plugin))
}

func (w *Waiting) answer(uid types.UID, s *Status) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	answer, ok := w.pods[uid]
	if ok {
		answer <- s // its buffer holds the one answer
		delete(w.pods, uid)
	}
	return ok
}

// Begin registers a pod before anybody could answer for it. The returned
// function waits for the answer, the timeout or ctx.
func (w *Waiting) Begin(uid types.UID, plugin string) (wait func(ctx context.Context, timeout time.Duration) *Status) {
	answer := make(chan *Status, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pods == nil {
		w.pods = make(map[types.UID]chan *Status)
	}
	w.pods[uid] = answer
	return func(ctx context.Context, timeout time.Duration) *Status {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		select {
		case s := <-answer:
			return s
		case <-timer.C:
			w.Reject(uid, plugin, "timed out waiting for permission to bind")
		case <-ctx.Done():
			w.answer(uid, AsStatus(ctx.Err()))
		}
		return <-answer // ours, or one that came first
	}
}
