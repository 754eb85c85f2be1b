package podset

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"navarch.dev/navarch/internal/client"
)

// Tracker remembers what a reconciler did to pods until its informer shows it.
// A reconciler that counts pods and creates what is missing must not count
// while the tracker is unsettled, or it would create or delete the same pod
// twice.
type Tracker struct {
	pods *client.Informer[*corev1.Pod]

	mu      sync.Mutex
	pending map[string]map[types.UID]write // by the owner's key
}

// write is a creation or a deletion of a pod.
type write struct {
	name    string // namespace/name
	version string // the resourceVersion of a creation; empty for a deletion
}

// NewTracker returns an empty tracker.
func NewTracker(pods *client.Informer[*corev1.Pod]) *Tracker {
	return &Tracker{pods: pods, pending: make(map[string]map[types.UID]write)}
}

// Created notes that a pod was created for the owner; pod is what the Store
// answered.
func (t *Tracker) Created(owner string, pod *corev1.Pod) {
	t.add(owner, pod.UID, write{name: cache.MetaObjectToName(pod).String(), version: pod.ResourceVersion})
}

// Deleted notes that a pod, as the informer showed it, was deleted for the
// owner.
func (t *Tracker) Deleted(owner string, pod *corev1.Pod) {
	t.add(owner, pod.UID, write{name: cache.MetaObjectToName(pod).String()})
}

func (t *Tracker) add(owner string, uid types.UID, w write) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pending[owner] == nil {
		t.pending[owner] = make(map[types.UID]write)
	}
	t.pending[owner][uid] = w
}

// Settled says whether the informer shows everything done for the owner.
func (t *Tracker) Settled(owner string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for uid, w := range t.pending[owner] {
		if t.shows(uid, w) {
			delete(t.pending[owner], uid)
		}
	}
	if len(t.pending[owner]) > 0 {
		return false
	}
	delete(t.pending, owner)
	return true
}

func (t *Tracker) shows(uid types.UID, w write) bool {
	pod, ok := t.pods.GetByKey(w.name)
	present := ok && pod.UID == uid
	if w.version == "" {
		return !present || pod.DeletionTimestamp != nil
	}
	// A pod that came and went again is never shown, but its time has passed.
	return present || t.pods.HasReached(w.version)
}

// Forget drops what is pending for an owner that is gone.
func (t *Tracker) Forget(owner string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.pending, owner)
}
