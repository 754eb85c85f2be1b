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
	// withdrawn are the nodes that pods were nominated to last and are no more. Their
	// status may come to show that late.
	withdrawn map[types.UID]string
}

func newNominations() *nominations {
	return &nominations{
		byPod: make(map[types.UID]string), byNode: make(map[string]map[types.UID]*snapshot.PodInfo),
		withdrawn: make(map[types.UID]string),
	}
}

// set nominates a pod to a node; "" takes the nomination back. It returns the node
// that the pod was nominated to before, if that is another one.
func (n *nominations) set(pod *snapshot.PodInfo, node string) (before string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.change(pod, node)
}

// show is set for a nomination that a pod's status has come to show. One that was
// taken back meanwhile is none.
func (n *nominations) show(pod *snapshot.PodInfo, node string) (before string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if node != "" && node == n.withdrawn[pod.Pod.UID] {
		return ""
	}
	before = n.change(pod, node)
	delete(n.withdrawn, pod.Pod.UID) // the status has caught up
	return before
}

// change is set. The lock is held.
func (n *nominations) change(pod *snapshot.PodInfo, node string) (before string) {
	before = n.drop(pod.Pod.UID)
	if node != "" {
		delete(n.withdrawn, pod.Pod.UID)
		n.add(pod, node)
	}
	if before == "" || before == node {
		return ""
	}
	n.withdrawn[pod.Pod.UID] = before
	return before
}

// add notes a nomination. The lock is held.
func (n *nominations) add(pod *snapshot.PodInfo, node string) {
	n.byPod[pod.Pod.UID] = node
	if n.byNode[node] == nil {
		n.byNode[node] = make(map[types.UID]*snapshot.PodInfo)
	}
	n.byNode[node][pod.Pod.UID] = pod
}

// remove forgets a pod and returns the node that it was nominated to, if any.
func (n *nominations) remove(uid types.UID) (node string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.withdrawn, uid)
	return n.drop(uid)
}

// displace takes the nominations to a node back of the pods that have a lower
// priority than pod, and returns them.
func (n *nominations) displace(node string, pod *snapshot.PodInfo) []*snapshot.PodInfo {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []*snapshot.PodInfo
	for uid, other := range n.byNode[node] {
		if other.Priority() < pod.Priority() {
			out = append(out, other)
			n.drop(uid)
			n.withdrawn[uid] = node
		}
	}
	return out
}

// drop forgets a nomination. The lock is held.
func (n *nominations) drop(uid types.UID) (node string) {
	node = n.byPod[uid]
	delete(n.byPod, uid)
	delete(n.byNode[node], uid)
	if len(n.byNode[node]) == 0 {
		delete(n.byNode, node)
	}
	return node
}

// known returns the pod with the nomination that its status may not show yet, or
// without the one that its status shows still.
func (n *nominations) known(pod *snapshot.PodInfo) *snapshot.PodInfo {
	n.mu.Lock()
	node := n.byPod[pod.Pod.UID]
	n.mu.Unlock()
	if node == pod.Pod.Status.NominatedNodeName {
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
