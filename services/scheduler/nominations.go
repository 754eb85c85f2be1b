package scheduler

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/services/scheduler/snapshot"
)

// nominations are the pods for which room is being made on a node. It
// implements placement.Nominations and is safe for concurrent use.
type nominations struct {
	mu     sync.Mutex
	byPod  map[types.UID]string
	byNode map[string]map[types.UID]*snapshot.PodInfo
}

func newNominations() *nominations {
	return &nominations{byPod: make(map[types.UID]string), byNode: make(map[string]map[types.UID]*snapshot.PodInfo)}
}

// set nominates a pod to a node; "" takes the nomination back.
func (n *nominations) set(pod *snapshot.PodInfo, node string) {
	n.remove(pod.Pod.UID)
	if node == "" {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.byPod[pod.Pod.UID] = node
	if n.byNode[node] == nil {
		n.byNode[node] = make(map[types.UID]*snapshot.PodInfo)
	}
	n.byNode[node][pod.Pod.UID] = pod
}

func (n *nominations) remove(uid types.UID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	node, ok := n.byPod[uid]
	if !ok {
		return
	}
	delete(n.byPod, uid)
	delete(n.byNode[node], uid)
	if len(n.byNode[node]) == 0 {
		delete(n.byNode, node)
	}
}

// known returns the pod with the nomination that its status may not show yet.
func (n *nominations) known(pod *snapshot.PodInfo) *snapshot.PodInfo {
	n.mu.Lock()
	node := n.byPod[pod.Pod.UID]
	n.mu.Unlock()
	if node == "" || node == pod.Pod.Status.NominatedNodeName {
		return pod
	}
	info, nominated := *pod, *pod.Pod
	nominated.Status.NominatedNodeName = node
	info.Pod = &nominated
	return &info
}

// Any says whether there are any.
func (n *nominations) Any() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.byPod) > 0
}

// On returns the pods nominated to a node that have at least the priority of
// pod.
func (n *nominations) On(node string, pod *snapshot.PodInfo) []*snapshot.PodInfo {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []*snapshot.PodInfo
	for uid, other := range n.byNode[node] {
		if uid != pod.Pod.UID && other.Priority() >= pod.Priority() {
			out = append(out, other)
		}
	}
	return out
}
