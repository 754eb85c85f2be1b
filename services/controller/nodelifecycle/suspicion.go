package nodelifecycle

import (
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/controller/runner"
)

// suspectAfter is how long after its stream broke a node may take to open another
// one, and to renew its Lease. It needs milliseconds for that, unless its agent
// is being started again.
const suspectAfter = 5 * time.Second

// grace is how long a node that promised to stop its pods may be silent before
// it counts as gone: less if its stream has broken.
func (r renewal) grace() time.Duration {
	if r.broken != "" {
		return r.promise * 3 / 5
	}
	return r.promise
}

// suspects remembers which lost streams have been told of.
type suspects struct {
	mu     sync.Mutex
	byNode map[string]string
}

// first says whether a node's lost stream has not been told of, and notes it.
func (s *suspects) first(node, stream string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byNode[node] == stream {
		return false
	}
	if s.byNode == nil {
		s.byNode = make(map[string]string)
	}
	s.byNode[node] = stream
	return true
}

func (s *suspects) forget(node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byNode, node)
}

// suspect tells of a node whose heartbeat stream broke, and which has not been
// heard of since. What is done about it depends on its Lease alone.
func (r *reconciler) suspect(node *corev1.Node, now time.Time) runner.Outcome {
	last := r.renewals.of(node.Name)
	if last.broken == "" {
		return runner.Done()
	}
	if wait := last.brokenAt.Add(suspectAfter).Sub(now); wait > 0 {
		return runner.RequeueAfter(wait)
	}
	if r.suspects.first(node.Name, last.broken) {
		r.events.Event(node, corev1.EventTypeWarning, "NodeSuspected",
			fmt.Sprintf("The heartbeat stream of node %s broke, and the node has not been heard of since.", node.Name))
	}
	return runner.Done()
}
