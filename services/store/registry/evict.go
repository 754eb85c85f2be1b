package registry

import (
	"context"
	"fmt"
	"net/http"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/cache"
)

// Evict deletes a pod if the disruption budgets that cover it allow it.
func (r *Registry) Evict(ctx context.Context, w Write, eviction *policyv1.Eviction) error {
	key := r.Key(w.Kind, w.Namespace, w.Name)
	v, err := r.read(ctx, w.Kind, key)
	if err != nil {
		return err
	}
	if v == nil {
		return apierrors.NewNotFound(w.Kind.GroupResource(), w.Name)
	}
	opts := evictionOptions(eviction)
	w.Subresource = ""
	w.DryRun = w.DryRun || opts.GetDryRun()
	pod := v.Object.(*corev1.Pod)
	if countsForBudgets(pod) {
		if err := r.spendBudget(ctx, w, pod); err != nil {
			return err
		}
	}
	_, _, err = r.Delete(ctx, w, opts)
	return err
}

func evictionOptions(eviction *policyv1.Eviction) *storev1.DeleteOptions {
	opts := &storev1.DeleteOptions{}
	o := eviction.DeleteOptions
	if o == nil {
		return opts
	}
	if o.GracePeriodSeconds != nil {
		opts.GracePeriodSeconds = proto.Int64(*o.GracePeriodSeconds)
	}
	if p := o.Preconditions; p != nil {
		if p.UID != nil {
			opts.Uid = string(*p.UID)
		}
		if p.ResourceVersion != nil {
			opts.ResourceVersion = *p.ResourceVersion
		}
	}
	opts.DryRun = len(o.DryRun) > 0
	return opts
}

// countsForBudgets says whether a pod's eviction disrupts anything.
func countsForBudgets(pod *corev1.Pod) bool {
	switch {
	case pod.DeletionTimestamp != nil:
		return false
	case pod.Status.Phase == corev1.PodSucceeded, pod.Status.Phase == corev1.PodFailed, pod.Status.Phase == corev1.PodPending:
		return false
	}
	return true
}

// spendBudget takes one disruption from the budget that covers a pod.
func (r *Registry) spendBudget(ctx context.Context, w Write, pod *corev1.Pod) error {
	budgetKind, err := r.Kinds.ForObject(&policyv1.PodDisruptionBudget{})
	if err != nil {
		return err
	}
	objs, err := r.Reader().List(ctx, budgetKind.GVR(), pod.Namespace)
	if err != nil {
		return err
	}
	var covering []*policyv1.PodDisruptionBudget
	for _, obj := range objs {
		if budget := obj.(*policyv1.PodDisruptionBudget); covers(budget, pod) {
			covering = append(covering, budget)
		}
	}
	switch len(covering) {
	case 0:
		return nil
	case 1:
	default:
		return apierrors.NewInternalError(fmt.Errorf("pod %s is covered by more than one PodDisruptionBudget, which the eviction subresource does not support", pod.Name))
	}
	spend := Write{Kind: budgetKind, Namespace: pod.Namespace, Name: covering[0].Name, Subresource: "status", User: w.User, DryRun: w.DryRun, Manager: w.Manager, Verb: "update"}
	_, err = r.Change(ctx, spend, func(cur *cache.Version) (kinds.Object, error) {
		return spendOne(cur.Object.DeepCopyObject().(*policyv1.PodDisruptionBudget), pod)
	})
	return err
}

func covers(budget *policyv1.PodDisruptionBudget, pod *corev1.Pod) bool {
	selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
	return err == nil && selector.Matches(labels.Set(pod.Labels))
}

// spendOne notes the disruption of a pod in a budget, if that has any left.
func spendOne(budget *policyv1.PodDisruptionBudget, pod *corev1.Pod) (kinds.Object, error) {
	if budget.Status.ObservedGeneration < budget.Generation {
		return nil, tooManyDisruptions(budget, "")
	}
	if budget.Status.DisruptionsAllowed <= 0 {
		return nil, tooManyDisruptions(budget, fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently",
			budget.Name, budget.Status.DesiredHealthy, budget.Status.CurrentHealthy))
	}
	budget.Status.DisruptionsAllowed--
	if budget.Status.DisruptedPods == nil {
		budget.Status.DisruptedPods = make(map[string]metav1.Time)
	}
	budget.Status.DisruptedPods[pod.Name] = metav1.Now().Rfc3339Copy()
	return budget, nil
}

func tooManyDisruptions(budget *policyv1.PodDisruptionBudget, why string) error {
	err := &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusTooManyRequests, Reason: metav1.StatusReasonTooManyRequests,
		Message: "Cannot evict pod as it would violate the pod's disruption budget.",
		Details: &metav1.StatusDetails{},
	}}
	if why == "" {
		err.ErrStatus.Details.RetryAfterSeconds = 10
		why = fmt.Sprintf("The disruption budget %s is still being processed by the server.", budget.Name)
	}
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: policyv1.DisruptionBudgetCause, Message: why}}
	return err
}
