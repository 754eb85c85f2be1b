// Package disruption keeps the status of PodDisruptionBudgets: how many of the
// pods that one covers may be evicted now. The eviction subresource spends
// that number, and notes in the status whom it spent it on, so that between an
// eviction and the pod's end nobody spends it again.
//
//	disruption.go  what is watched; one reconcile from start to end
//	workloads.go   how many pods the controllers of the pods want
//	status.go      the arithmetic
//	stale.go       pods that were to be disrupted and were not
package disruption

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/podset"
	"navarch.dev/navarch/services/controller/runner"
	"navarch.dev/navarch/services/controller/selection"
)

type reconciler struct {
	client    *client.Client
	events    runner.EventRecorder
	budgets   *client.Informer[*policyv1.PodDisruptionBudget]
	covered   *selection.Index[*corev1.Pod]
	workloads *workloads
}

// New returns the controller of PodDisruptionBudgets.
func New(deps runner.Deps) (*runner.Controller, error) {
	budgets, err := client.InformerFor[*policyv1.PodDisruptionBudget](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	pods, err := client.InformerFor[*corev1.Pod](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	covered, err := selection.Follow[*policyv1.PodDisruptionBudget, *corev1.Pod](deps.Informers, selectorOf, nil)
	if err != nil {
		return nil, err
	}
	w, err := newWorkloads(deps)
	if err != nil {
		return nil, err
	}
	r := &reconciler{client: deps.Client, events: deps.Events("controllermanager"), budgets: budgets, covered: covered, workloads: w}
	c := runner.New("disruption", r, deps, runner.Options{Trace: budgets.TraceContext})
	runner.Primary(c, budgets)
	runner.Watch(c, pods, runner.Input[*corev1.Pod]{Keys: covered.Selecting, Changed: matters})
	watchScale[*appsv1.Deployment](c, r, w.deployments)
	watchScale[*appsv1.ReplicaSet](c, r, w.replicaSets)
	watchScale[*appsv1.StatefulSet](c, r, w.statefulSets)
	watchScale[*corev1.ReplicationController](c, r, w.replicationControllers)
	return c, nil
}

// watchScale has the budgets that cover a workload's pods looked at again when
// it is to have another number of them. Its status alone does not matter, and of
// pods that are yet to come their own events tell.
func watchScale[T kinds.Object](c *runner.Controller, r *reconciler, informer *client.Informer[T]) {
	runner.Watch(c, informer, runner.Input[T]{
		Keys: func(obj T) []string {
			keys := make(map[string]struct{})
			for _, pod := range r.workloads.podsOf(obj) {
				for _, key := range r.covered.Selecting(pod) {
					keys[key] = struct{}{}
				}
			}
			return slices.Collect(maps.Keys(keys))
		},
		Changed: func(old, obj T) bool {
			return old.GetGeneration() != obj.GetGeneration() ||
				!equality.Semantic.DeepEqual(old.GetOwnerReferences(), obj.GetOwnerReferences()) // adopted: another scale counts
		},
	})
}

// selectorOf returns the selector of a budget. One that cannot be read covers
// nothing.
func selectorOf(b *policyv1.PodDisruptionBudget) labels.Selector {
	selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	if err != nil {
		return labels.Nothing()
	}
	return selector
}

// matters says whether a pod's change can change a budget's status.
func matters(old, pod *corev1.Pod) bool {
	return podset.IsReady(old) != podset.IsReady(pod) ||
		(old.DeletionTimestamp == nil) != (pod.DeletionTimestamp == nil) ||
		old.UID != pod.UID || !maps.Equal(old.Labels, pod.Labels) ||
		!equality.Semantic.DeepEqual(old.OwnerReferences, pod.OwnerReferences)
}

// retryPeriod is how long after a failure a budget is looked at again. What is
// missing comes without a word to the budget: a custom kind that is defined later,
// a scale that could not be read.
const retryPeriod = 5 * time.Second

// Reconcile brings a budget's status up to date. When that fails the budget
// allows no disruption at all: nobody knows whether one would be harmless.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	budget, ok := r.budgets.GetByKey(key)
	if !ok {
		return runner.Done(), nil
	}
	status, recheck, err := r.observe(ctx, budget, time.Now())
	if err != nil {
		status = *budget.Status.DeepCopy()
		status.DisruptionsAllowed = 0
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse,
			Reason: policyv1.SyncFailedReason, Message: err.Error(), ObservedGeneration: status.ObservedGeneration,
		})
		recheck = runner.RequeueAfter(retryPeriod)
	}
	if equality.Semantic.DeepEqual(status, budget.Status) {
		return recheck, nil
	}
	if err != nil {
		r.events.Event(budget, corev1.EventTypeWarning, "CalculateExpectedPodCountFailed", "Failed to calculate the number of expected pods: "+err.Error())
	}
	changed := budget.DeepCopy()
	changed.Status = status
	// The version that was read must be the present one: an eviction may have
	// spent a disruption meanwhile.
	if err := r.client.UpdateStatus(ctx, changed); err != nil && !apierrors.IsNotFound(err) {
		return runner.Done(), fmt.Errorf("update the status: %w", err)
	}
	return recheck, nil
}

// observe returns what a budget's status should be, and when to look again.
func (r *reconciler) observe(ctx context.Context, budget *policyv1.PodDisruptionBudget, now time.Time) (policyv1.PodDisruptionBudgetStatus, runner.Outcome, error) {
	status := *budget.Status.DeepCopy()
	selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
	if err != nil {
		return status, runner.Done(), fmt.Errorf("read the selector: %w", err)
	}
	pods := r.covered.Selected(budget.Namespace, budget.Name, selector)
	expected, desired, unmanaged, err := r.expect(ctx, budget, pods)
	if err != nil {
		return status, runner.Done(), err
	}
	r.report(budget, pods, unmanaged)
	pending, recheck := r.pending(budget, pods, now)
	fill(&status, budget.Generation, tally{expected: expected, desired: desired, healthy: healthy(pods, pending)}, pending)
	return status, recheck, nil
}

// report records what is odd about the pods that a budget covers, the first
// time that this version of the budget is looked at.
func (r *reconciler) report(budget *policyv1.PodDisruptionBudget, pods []*corev1.Pod, unmanaged bool) {
	if budget.Status.ObservedGeneration == budget.Generation {
		return
	}
	if len(pods) == 0 {
		r.events.Event(budget, corev1.EventTypeNormal, "NoPods", "No matching pods found")
	}
	if unmanaged {
		r.events.Event(budget, corev1.EventTypeWarning, "UnmanagedPods", fmt.Sprintf(
			"Pods selected by this PodDisruptionBudget (selector: %s) were found to be unmanaged. As a result, the status of the PDB cannot be calculated "+
				"correctly, which may result in undefined behavior. To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.",
			metav1.FormatLabelSelector(budget.Spec.Selector)))
	}
}
