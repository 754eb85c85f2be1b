package devicetainteviction

import (
	"context"
	"fmt"
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"navarch.dev/navarch/internal/deviceclaim"
	"navarch.dev/navarch/services/controller/runner"
)

// statusPeriod is the shortest time between two updates of a rule's status.
const statusPeriod = 10 * time.Second

// reconcileRule says in a rule's status how far its evictions are. Every change
// counts as a transition of the condition, so that its time is that of the last
// update.
func (r *reconciler) reconcileRule(ctx context.Context, name string) (runner.Outcome, error) {
	rule, ok := r.rules.GetByKey(name)
	if !ok {
		return runner.Done(), nil
	}
	now := time.Now()
	was := conditionOf(rule)
	if was != nil && was.ObservedGeneration == rule.Generation {
		if wait := statusPeriod - now.Sub(was.LastTransitionTime.Time); wait > 0 {
			return runner.RequeueAfter(wait), nil
		}
	}
	is := r.condition(rule)
	if was != nil {
		is.LastTransitionTime = was.LastTransitionTime
		if is == *was {
			return runner.Done(), nil
		}
	}
	is.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
	changed := rule.DeepCopy()
	if was := conditionOf(changed); was != nil {
		*was = is
	} else {
		changed.Status.Conditions = append(changed.Status.Conditions, is)
	}
	if err := r.client.UpdateStatus(ctx, changed); err != nil && !apierrors.IsNotFound(err) {
		return runner.Done(), fmt.Errorf("update the status of DeviceTaintRule %s: %w", name, err)
	}
	return runner.Done(), nil
}

func conditionOf(rule *resourcev1.DeviceTaintRule) *metav1.Condition {
	for i := range rule.Status.Conditions {
		if rule.Status.Conditions[i].Type == resourcev1.DeviceTaintConditionEvictionInProgress {
			return &rule.Status.Conditions[i]
		}
	}
	return nil
}

// condition says what a rule does at present, without a time.
func (r *reconciler) condition(rule *resourcev1.DeviceTaintRule) metav1.Condition {
	r.mu.Lock()
	evicted := r.evicted[rule.UID]
	r.mu.Unlock()
	c := metav1.Condition{Type: resourcev1.DeviceTaintConditionEvictionInProgress, Status: metav1.ConditionFalse, ObservedGeneration: rule.Generation}
	switch rule.Spec.Taint.Effect {
	case resourcev1.DeviceTaintEffectNoExecute:
		pods, namespaces := r.pending(rule)
		switch {
		case pods > 0:
			c.Status, c.Reason = metav1.ConditionTrue, "PodsPendingEviction"
			c.Message = fmt.Sprintf("%s to be evicted in %s.", count(pods, "pod needs", "pods need"), count(namespaces, "namespace", "different namespaces"))
		case evicted > 0:
			c.Reason = "Completed"
		default:
			c.Reason = "NotStarted"
		}
	case resourcev1.DeviceTaintEffectNone:
		c.Reason, c.Message = "NoEffect", r.forecast(rule)
	default:
		c.Reason, c.Message = "OtherEffect", "Eviction only happens for the NoExecute effect."
	}
	if evicted > 0 {
		if c.Message != "" {
			c.Message += " "
		}
		c.Message += count(int(evicted), "pod", "pods") + " evicted since starting the controller."
	}
	return c
}

func count(n int, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, several)
}

// forecast says what a rule would do with the effect NoExecute.
func (r *reconciler) forecast(rule *resourcev1.DeviceTaintRule) string {
	published := 0
	for _, s := range r.slices.List() {
		if !r.isNewest(s) {
			continue
		}
		for i := range s.Spec.Devices {
			if deviceclaim.Taints(rule, s.Spec.Driver, s.Spec.Pool.Name, s.Spec.Devices[i].Name) {
				published++
			}
		}
	}
	allocated := 0
	for _, claim := range r.claims.List() {
		allocated += selected(claim, rule)
	}
	as := rule.DeepCopy()
	as.Spec.Taint.Effect = resourcev1.DeviceTaintEffectNoExecute
	pods, namespaces := r.pending(as)
	return fmt.Sprintf("%s selected. %s selected. %s would be evicted in %s if the effect was NoExecute. "+
		"This information will not be updated again. Recreate the DeviceTaintRule to trigger an update.",
		count(published, "published device", "published devices"), count(allocated, "allocated device", "allocated devices"),
		count(pods, "pod", "pods"), count(namespaces, "namespace", "different namespaces"))
}

// isNewest says whether a slice is of its pool's newest generation.
func (r *reconciler) isNewest(s *resourcev1.ResourceSlice) bool {
	found, _ := r.slices.ByIndex(slicesByPool, poolKey(s.Spec.Driver, s.Spec.Pool.Name)) // the index is always there
	for _, other := range found {
		if other.Spec.Pool.Generation > s.Spec.Pool.Generation {
			return false
		}
	}
	return true
}

// pending counts the pods that have to go, sooner or later, because of a rule, and
// their namespaces.
func (r *reconciler) pending(rule *resourcev1.DeviceTaintRule) (pods, namespaces int) {
	found, where := sets.New[types.UID](), sets.New[string]()
	taints := func(d *resourcev1.DeviceRequestAllocationResult) []taint {
		if !deviceclaim.Taints(rule, d.Driver, d.Pool, d.Device) {
			return nil
		}
		return []taint{{rule.Spec.Taint, rule}}
	}
	for _, claim := range r.claims.List() {
		if ofClaim(claim, taints) == nil {
			continue
		}
		for _, consumer := range claim.Status.ReservedFor {
			pod, ok := r.pods.Get(claim.Namespace, consumer.Name)
			if ok && pod.UID == consumer.UID && pod.DeletionTimestamp == nil && pod.Spec.NodeName != "" && !deviceclaim.IsDone(pod) {
				found.Insert(pod.UID)
				where.Insert(pod.Namespace)
			}
		}
	}
	return found.Len(), where.Len()
}
