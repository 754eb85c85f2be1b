package scheduler

import (
	"sync"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/internal/client"
)

// signal tells those who wait that something has changed.
type signal struct {
	mu sync.Mutex // guards changed
	// changed is closed at the next change; nil while nobody waits for one.
	changed chan struct{}
}

func (s *signal) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// Changed returns what is closed at the next change.
func (s *signal) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

// podWaits says whether a pod is still there to be placed.
func podWaits(pods *client.Informer[*corev1.Pod], pod *corev1.Pod) bool {
	now, ok := pods.Get(pod.Namespace, pod.Name)
	return ok && now.UID == pod.UID && now.DeletionTimestamp == nil
}
