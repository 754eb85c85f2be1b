package daemonset

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/flowcontrol"

	"navarch.dev/navarch/services/controller/runner"
)

// firstReplacement and lastReplacement bound how long after the one before it a pod
// that failed on a node is replaced there. A node may refuse every one at once.
const (
	firstReplacement = time.Second
	lastReplacement  = 15 * time.Minute
)

func newBackoff() *flowcontrol.Backoff {
	return flowcontrol.NewBackOff(firstReplacement, lastReplacement)
}

// ended returns which pods that have ended on a node are to go. held says that one
// that failed stays for now, and with it the node as it is.
func (ro *rollout) ended(p *place) (remove []*corev1.Pod, held bool) {
	for _, pod := range p.failed {
		key := backoffKey(ro.set, p.node)
		if ro.backoff.IsInBackOffSinceUpdate(key, ro.now) {
			ro.again = ro.again.Sooner(runner.RequeueAfter(ro.backoff.Get(key)))
			held = true
			continue
		}
		ro.backoff.Next(key, ro.now)
		ro.backoff.GC()
		ro.tell(corev1.EventTypeWarning, "FailedDaemonPod", pod, p.node, "Found failed daemon pod %s/%s on node %s, will try to kill it")
		remove = append(remove, pod)
	}
	for _, pod := range p.succeeded {
		ro.tell(corev1.EventTypeNormal, "SucceededDaemonPod", pod, p.node, "Found succeeded daemon pod %s/%s on node %s, will try to delete it")
		remove = append(remove, pod)
	}
	return remove, held
}

func (ro *rollout) tell(eventType, reason string, pod *corev1.Pod, node, format string) {
	ro.control.Events.Event(ro.set, eventType, reason, fmt.Sprintf(format, pod.Namespace, pod.Name, node))
}

// backoffKey begins anew with every generation of the set: it may be what mends the
// pods.
func backoffKey(set *appsv1.DaemonSet, node string) string {
	return fmt.Sprintf("%s/%d/%s", set.UID, set.Generation, node)
}
