package nodelifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/services/controller/podset"
)

// watched are the conditions that nobody knows of once a node is silent.
var watched = [...]corev1.NodeConditionType{
	corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure,
}

// markUnknown sets a silent node's conditions to Unknown.
func (r *reconciler) markUnknown(ctx context.Context, node *corev1.Node, now time.Time) (*corev1.Node, error) {
	changed := node.DeepCopy()
	if !setUnknown(&changed.Status, node.CreationTimestamp, now) {
		return node, nil
	}
	if err := r.client.UpdateStatus(ctx, changed); err != nil {
		return nil, fmt.Errorf("mark the silent node %s: %w", node.Name, err)
	}
	if nodeReady(node) == corev1.ConditionTrue {
		r.events.Event(changed, corev1.EventTypeNormal, "NodeNotReady", fmt.Sprintf("Node %s status is now: NodeNotReady", node.Name))
	}
	return changed, nil
}

// setUnknown changes the watched conditions; false if they all were Unknown.
func setUnknown(s *corev1.NodeStatus, created metav1.Time, now time.Time) (changed bool) {
	for _, t := range watched {
		found := false
		for i := range s.Conditions {
			c := &s.Conditions[i]
			if c.Type != t {
				continue
			}
			found = true
			if c.Status != corev1.ConditionUnknown {
				c.Status, c.LastTransitionTime = corev1.ConditionUnknown, metav1.NewTime(now)
				c.Reason, c.Message = "NodeStatusUnknown", "Kubelet stopped posting node status."
				changed = true
			}
		}
		if !found {
			s.Conditions = append(s.Conditions, corev1.NodeCondition{
				Type: t, Status: corev1.ConditionUnknown, LastHeartbeatTime: created, LastTransitionTime: metav1.NewTime(now),
				Reason: "NodeStatusNeverUpdated", Message: "Kubelet never posted node status.",
			})
			changed = true
		}
	}
	return changed
}

func isReady(pod *corev1.Pod) bool { return podset.IsReady(pod) }

// markPodsNotReady takes the pods of a silent node out of service. Its agent,
// once it is back, says which of them are ready.
func (r *reconciler) markPodsNotReady(ctx context.Context, node *corev1.Node, pods []*corev1.Pod, now time.Time) error {
	var errs []error
	for _, pod := range pods {
		if !isReady(pod) || podset.IsFinished(pod) {
			continue
		}
		changed := pod.DeepCopy()
		c := podset.Condition(changed, corev1.PodReady)
		c.Status, c.LastTransitionTime = corev1.ConditionFalse, metav1.NewTime(now)
		c.Reason, c.Message = "NodeNotReady", fmt.Sprintf("Node %s has stopped reporting.", node.Name)
		err := r.client.UpdateStatus(ctx, changed)
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("mark pod %s/%s not ready: %w", pod.Namespace, pod.Name, err))
		}
	}
	return errors.Join(errs...)
}
