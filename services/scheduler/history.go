package scheduler

import (
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"k8s.io/utils/lru"

	schedulerv1 "navarch.dev/navarch/proto/navarch/scheduler/v1"
	"navarch.dev/navarch/services/scheduler/placement"
)

const (
	// podsRemembered and attemptsRemembered bound the history.
	podsRemembered     = 4096
	attemptsRemembered = 10
	// watcherBuffer is how many decisions a watcher may lag behind.
	watcherBuffer = 256
)

// history remembers the latest attempts of each pod and tells watchers of new
// ones. A watcher that falls behind is cut off.
type history struct {
	mu       sync.Mutex
	pods     *lru.Cache // "namespace/name" → *record
	watchers map[chan *schedulerv1.Decision]struct{}
}

// record is one pod's past, newest first.
type record struct {
	decisions []*schedulerv1.Decision
	// scores are those of the attempt that placed the pod.
	scores placement.Ranking
}

func newHistory() *history {
	return &history{pods: lru.New(podsRemembered), watchers: make(map[chan *schedulerv1.Decision]struct{})}
}

// record notes how an attempt ended, and tells the watchers; node is empty if
// it failed.
func (h *history) record(a *attempt, node, message string) {
	h.tell(h.keep(a, node, message))
}

// keep notes how an attempt ends, before anybody can be told of it: who is told
// may ask why at once.
func (h *history) keep(a *attempt, node, message string) *schedulerv1.Decision {
	d := &schedulerv1.Decision{
		Namespace: a.pod.Pod.Namespace, Name: a.pod.Pod.Name, Uid: string(a.pod.Pod.UID),
		NodeName: node, Message: message, Time: timestamppb.New(time.Now()),
		FeasibleNodes: int32(a.result.Feasible), EvaluatedNodes: int32(a.result.Evaluated),
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	r := &record{decisions: []*schedulerv1.Decision{d}}
	if have, ok := h.pods.Get(a.pod.Key()); ok && have.(*record).decisions[0].GetUid() == d.GetUid() {
		old := have.(*record).decisions
		r.decisions = append(r.decisions, old[:min(len(old), attemptsRemembered-1)]...)
	}
	if node != "" {
		r.scores = a.result.Best
	}
	h.pods.Add(a.pod.Key(), r)
	return d
}

// drop takes back what was kept of an attempt that has ended otherwise.
func (h *history) drop(key string, d *schedulerv1.Decision) {
	h.mu.Lock()
	defer h.mu.Unlock()
	have, ok := h.pods.Get(key)
	if !ok {
		return
	}
	left := slices.DeleteFunc(slices.Clone(have.(*record).decisions), func(x *schedulerv1.Decision) bool { return x == d })
	if len(left) == 0 {
		h.pods.Remove(key)
		return
	}
	h.pods.Add(key, &record{decisions: left})
}

// tell sends the watchers a decision.
func (h *history) tell(d *schedulerv1.Decision) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		select {
		case w <- d:
		default:
			delete(h.watchers, w)
			close(w)
		}
	}
}

// of returns a pod's past.
func (h *history) of(key string) (record, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if have, ok := h.pods.Get(key); ok {
		return *have.(*record), true
	}
	return record{}, false
}

// watch returns a channel of decisions from now on; it is closed if the reader
// is too slow. stop must be called.
func (h *history) watch() (decisions <-chan *schedulerv1.Decision, stop func()) {
	w := make(chan *schedulerv1.Decision, watcherBuffer)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watchers[w] = struct{}{}
	return w, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers, w)
	}
}
