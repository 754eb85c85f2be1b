package disruption

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"navarch.dev/navarch/services/controller/podset"
	"navarch.dev/navarch/services/controller/runner"
)

// evictionTimeout is how long an evicted pod may take until it is being
// deleted. After that nobody believes in the eviction any more, and the pod
// counts as it is.
const evictionTimeout = 2 * time.Minute

// tally is what a budget reckons with.
type tally struct {
	// expected is how many pods there should be, desired how many of them must
	// be healthy, healthy how many are.
	expected, desired, healthy int32
}

// expect returns how many pods a budget covers when all are there, and how
// many must be healthy. A number of pods that must be available is taken as it
// is; everything else is a share of what the pods' controllers want, and
// unmanaged says that some pods have no controller.
func (r *reconciler) expect(ctx context.Context, budget *policyv1.PodDisruptionBudget, pods []*corev1.Pod) (expected, desired int32, unmanaged bool, err error) {
	least, most := budget.Spec.MinAvailable, budget.Spec.MaxUnavailable
	switch {
	case most == nil && least == nil:
		return 0, 0, false, nil
	case most == nil && least.Type == intstr.Int:
		return int32(len(pods)), least.IntVal, false, nil
	}
	expected, unmanaged, err = r.workloads.scale(ctx, pods)
	if err != nil {
		return 0, 0, false, err
	}
	if most != nil {
		n, err := intstr.GetScaledValueFromIntOrPercent(most, int(expected), true)
		if err != nil {
			return 0, 0, false, fmt.Errorf("read maxUnavailable: %w", err)
		}
		return expected, max(expected-int32(n), 0), unmanaged, nil
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(least, int(expected), true)
	if err != nil {
		return 0, 0, false, fmt.Errorf("read minAvailable: %w", err)
	}
	return expected, int32(n), unmanaged, nil
}

// pending returns the evictions that have not shown yet, and asks to be called
// when the first of them has taken too long.
func (r *reconciler) pending(budget *policyv1.PodDisruptionBudget, pods []*corev1.Pod, now time.Time) (map[string]metav1.Time, runner.Outcome) {
	left := make(map[string]metav1.Time)
	next := runner.Done()
	for _, pod := range pods {
		at, ok := budget.Status.DisruptedPods[pod.Name]
		if !ok || pod.DeletionTimestamp != nil {
			continue
		}
		wait := at.Add(evictionTimeout).Sub(now)
		if wait <= 0 {
			r.events.Event(pod, corev1.EventTypeWarning, "NotDeleted",
				fmt.Sprintf("Pod was expected by PDB %s/%s to be deleted but it wasn't", budget.Namespace, budget.Name))
			continue
		}
		left[pod.Name] = at
		next = next.Sooner(runner.RequeueAfter(wait))
	}
	return left, next
}

// healthy counts the pods that are ready and not on their way out.
func healthy(pods []*corev1.Pod, pending map[string]metav1.Time) (n int32) {
	for _, pod := range pods {
		if _, evicted := pending[pod.Name]; !evicted && pod.DeletionTimestamp == nil && podset.IsReady(pod) {
			n++
		}
	}
	return n
}

// fill writes a tally into a status. A budget that expects no pod allows
// nothing: what appears next may be what it is to protect.
func fill(status *policyv1.PodDisruptionBudgetStatus, generation int64, t tally, pending map[string]metav1.Time) {
	status.ExpectedPods, status.DesiredHealthy, status.CurrentHealthy = t.expected, t.desired, t.healthy
	status.DisruptionsAllowed = 0
	if t.expected > 0 {
		status.DisruptionsAllowed = max(t.healthy-t.desired, 0)
	}
	status.DisruptedPods, status.ObservedGeneration = pending, generation
	allowed := metav1.Condition{
		Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse,
		Reason: policyv1.InsufficientPodsReason, ObservedGeneration: generation,
	}
	if status.DisruptionsAllowed > 0 {
		allowed.Status, allowed.Reason = metav1.ConditionTrue, policyv1.SufficientPodsReason
	}
	meta.SetStatusCondition(&status.Conditions, allowed)
}
