package podworker

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubectl/pkg/util/qos"
)

// resizeAsk is a pod's wish for other resources than it has been given.
type resizeAsk struct {
	worker     *worker
	uid        string
	generation int64
	allocation *allocation
	// grant is what the pod would have of the node.
	grant    grant
	priority int32
	class    corev1.PodQOSClass
	// since is when the wish was first put off.
	since time.Time
	// answer is the last one that the worker was sent.
	answer refusal
}

// refusal is why a resize was not granted: PodReasonDeferred or
// PodReasonInfeasible, and more in words. The zero value is none.
type refusal struct{ reason, message string }

// newAsk makes a wish of a pod as it is to be.
func newAsk(w *worker, pod *corev1.Pod, wanted *allocation, since time.Time) *resizeAsk {
	ask := &resizeAsk{
		worker: w, uid: w.uid, generation: pod.Generation, allocation: wanted,
		grant: grantOf(pod), class: qos.ComputePodQOS(pod), since: since,
	}
	if pod.Spec.Priority != nil {
		ask.priority = *pod.Spec.Priority
	}
	return ask
}

// askResize puts a pod's wish in the place of its last one. The worker is sent
// the answer, now and when room appears.
func (m *Manager) askResize(ask *resizeAsk) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asks[ask.uid] = ask
	m.answerAsks()
}

// withdrawResize takes a pod's wish back.
func (m *Manager) withdrawResize(uid string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.asks, uid)
}

// settleResize notes that a pod has no more than it has been given, and lets
// others have what it gave up.
func (m *Manager) settleResize(uid string, given grant) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.granted[uid]; ok {
		m.granted[uid] = given
		m.answerAsks()
	}
}

// answerAsks grants the wishes for which there is room: first those that take
// nothing, then by priority, class and age. The caller holds the lock.
func (m *Manager) answerAsks() {
	if len(m.unsettled) > 0 {
		return
	}
	for _, ask := range slices.SortedFunc(maps.Values(m.asks), m.compareAsks) {
		why := m.refuse(ask)
		if why.reason != corev1.PodReasonDeferred {
			delete(m.asks, ask.uid)
		}
		if why.reason == "" {
			m.granted[ask.uid] = both(m.granted[ask.uid], ask.grant)
			go ask.worker.send(func() { ask.worker.resizeGranted(ask) })
		} else if why != ask.answer {
			ask.answer = why
			go ask.worker.send(func() { ask.worker.resizeRefused(ask, why) })
		}
	}
}

func (m *Manager) compareAsks(a, b *resizeAsk) int {
	return cmp.Or(
		cmp.Compare(min(len(m.grows(a)), 1), min(len(m.grows(b)), 1)),
		cmp.Compare(b.priority, a.priority),
		cmp.Compare(rank(b.class), rank(a.class)),
		a.since.Compare(b.since),
		cmp.Compare(a.uid, b.uid),
	)
}

func rank(class corev1.PodQOSClass) int {
	if class == corev1.PodQOSGuaranteed {
		return 1
	}
	return 0
}

// grows returns of which resources a pod wants more than it has.
func (m *Manager) grows(ask *resizeAsk) corev1.ResourceList {
	more := corev1.ResourceList{}
	for name, wanted := range ask.grant.requests {
		if wanted.Cmp(m.granted[ask.uid].requests[name]) > 0 {
			more[name] = wanted
		}
	}
	return more
}

// refuse says why a wish cannot be granted. What a pod gives up never has to
// wait for room. The caller holds the lock.
func (m *Manager) refuse(ask *resizeAsk) refusal {
	more := m.grows(ask)
	allocatable := m.allocatable()
	for _, name := range slices.Sorted(maps.Keys(more)) {
		wanted := more[name]
		if all, known := allocatable[name]; known && wanted.Cmp(all) > 0 {
			return refusal{corev1.PodReasonInfeasible, fmt.Sprintf("Node didn't have enough capacity: %s, requested: %d, capacity: %d",
				name, amount(name, wanted), amount(name, all))}
		}
	}
	if reason, message := m.fits(grant{requests: more}, ask.uid); reason != "" {
		return refusal{corev1.PodReasonDeferred, message}
	}
	return refusal{}
}

// both returns what a pod takes of the node while it goes from one size to
// another: of each resource the larger amount.
func both(a, b grant) grant {
	out := grant{requests: maps.Clone(a.requests), ports: b.ports}
	if out.requests == nil {
		out.requests = corev1.ResourceList{}
	}
	for name, q := range b.requests {
		if q.Cmp(out.requests[name]) > 0 {
			out.requests[name] = q
		}
	}
	return out
}
