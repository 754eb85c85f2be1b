package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/admission"
	"navarch.dev/navarch/services/store/cache"
)

// mostPending is how many evictions a budget's status may hold that its
// controller has not confirmed.
const mostPending = 2000

// Evict deletes a pod if the disruption budgets that cover it allow it.
func (r *Registry) Evict(ctx context.Context, w Write, eviction *policyv1.Eviction) error {
	opts := evictionOptions(eviction)
	w.DryRun = w.DryRun || opts.GetDryRun()
	if err := r.judgeEviction(ctx, w, eviction); err != nil {
		return err
	}
	w.Subresource, w.judged = "", true
	for range conflictAttempts {
		v, err := r.read(ctx, w.Kind, r.Key(w.Kind, w.Namespace, w.Name))
		if err != nil {
			return err
		}
		if v == nil {
			return apierrors.NewNotFound(w.Kind.GroupResource(), w.Name)
		}
		pod := v.Object().(*corev1.Pod)
		p, err := r.permit(ctx, w, pod)
		if err != nil {
			return err
		}
		err = r.endPod(ctx, w, opts, pod, p)
		switch {
		case !apierrors.IsConflict(err) || !p.asSeen || opts.GetResourceVersion() != "":
			return err
		case p.budget != "":
			return tooManyDisruptions(p.budget)
		}
	}
	return conflict(w.Kind, w.Name)
}

// judgeEviction asks webhooks and policies about an eviction.
func (r *Registry) judgeEviction(ctx context.Context, w Write, eviction *policyv1.Eviction) error {
	request := w.request(admission.Create, eviction, nil)
	request.ObjectKind, request.Options = policyv1.SchemeGroupVersion.WithKind("Eviction"), w.creation()
	return r.Judge(ctx, request)
}

// permission says under which condition a pod may be evicted.
type permission struct {
	// asSeen: only if the pod has not changed since; it might have become one
	// of those that a budget counts on.
	asSeen bool
	// budget is the name of the budget whose word that is.
	budget string
}

// permit asks the budget that covers a pod, and takes a disruption from it if
// the pod's end is one.
func (r *Registry) permit(ctx context.Context, w Write, pod *corev1.Pod) (permission, error) {
	if !countsForBudgets(pod) {
		return permission{asSeen: pod.Status.Phase == corev1.PodPending && pod.DeletionTimestamp == nil}, nil
	}
	kind, err := r.Kinds.ForObject(&policyv1.PodDisruptionBudget{})
	if err != nil {
		return permission{}, err
	}
	budget, err := r.budgetOf(ctx, kind, pod)
	if err != nil || budget == nil {
		return permission{}, err
	}
	if !isReady(pod) && allowsUnhealthy(budget) {
		return permission{asSeen: true, budget: budget.Name}, nil
	}
	spend := Write{Kind: kind, Namespace: pod.Namespace, Name: budget.Name, Subresource: "status", User: w.User, DryRun: w.DryRun, Verb: "update", judged: true}
	_, err = r.Change(ctx, spend, func(cur *cache.Version) (kinds.Object, error) {
		return spendOne(cur.Object().DeepCopyObject().(*policyv1.PodDisruptionBudget), pod)
	})
	return permission{}, err
}

// endPod marks a pod's end as a disruption, which its owner may judge in
// another way than a failure, and deletes it.
func (r *Registry) endPod(ctx context.Context, w Write, opts *storev1.DeleteOptions, pod *corev1.Pod, p permission) error {
	opts = proto.Clone(opts).(*storev1.DeleteOptions)
	if p.asSeen && opts.GetResourceVersion() == "" {
		opts.ResourceVersion = pod.ResourceVersion
	}
	if !w.DryRun {
		mark := Write{Kind: w.Kind, Namespace: w.Namespace, Name: w.Name, Subresource: "status", User: w.User, Verb: "update", judged: true}
		v, err := r.Change(ctx, mark, func(cur *cache.Version) (kinds.Object, error) {
			if err := checkPreconditions(w, opts, cur.Object()); err != nil {
				return nil, err
			}
			marked := cur.Object().DeepCopyObject().(*corev1.Pod)
			markDisrupted(marked)
			return marked, nil
		})
		if err != nil {
			return err
		}
		if opts.GetResourceVersion() != "" {
			opts.ResourceVersion = v.Object().GetResourceVersion()
		}
	}
	_, _, err := r.Delete(ctx, w, opts)
	return err
}

func markDisrupted(pod *corev1.Pod) {
	disrupted := corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, ObservedGeneration: pod.Generation,
		Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting", LastTransitionTime: metav1.Now().Rfc3339Copy(),
	}
	for i, c := range pod.Status.Conditions {
		if c.Type != disrupted.Type {
			continue
		}
		if c.Status == disrupted.Status {
			disrupted.LastTransitionTime = c.LastTransitionTime
		}
		pod.Status.Conditions[i] = disrupted
		return
	}
	pod.Status.Conditions = append(pod.Status.Conditions, disrupted)
}

func isReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// allowsUnhealthy says whether a budget lets go of pods that are not ready:
// always, if it says so, and otherwise while what it protects is not disrupted.
func allowsUnhealthy(budget *policyv1.PodDisruptionBudget) bool {
	if p := budget.Spec.UnhealthyPodEvictionPolicy; p != nil && *p == policyv1.AlwaysAllow {
		return true
	}
	return budget.Status.CurrentHealthy >= budget.Status.DesiredHealthy && budget.Status.DesiredHealthy > 0
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

// budgetOf returns the budget that covers a pod, nil without one. A budget that
// was created a moment ago protects already, so the cache must not lag behind.
func (r *Registry) budgetOf(ctx context.Context, kind *kinds.Kind, pod *corev1.Pod) (*policyv1.PodDisruptionBudget, error) {
	if err := r.Cache(kind).Fresh(ctx); err != nil {
		return nil, fmt.Errorf("read the disruption budgets: %w", err)
	}
	objs, err := r.Reader().List(ctx, kind.GVR(), pod.Namespace)
	if err != nil {
		return nil, err
	}
	var found *policyv1.PodDisruptionBudget
	for _, obj := range objs {
		budget := obj.(*policyv1.PodDisruptionBudget)
		if !covers(budget, pod) {
			continue
		}
		if found != nil {
			return nil, &apierrors.StatusError{ErrStatus: metav1.Status{
				Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Reason: metav1.StatusReasonInternalError,
				Message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
			}}
		}
		found = budget
	}
	return found, nil
}

func covers(budget *policyv1.PodDisruptionBudget, pod *corev1.Pod) bool {
	selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
	return err == nil && selector.Matches(labels.Set(pod.Labels))
}

// spendOne notes the disruption of a pod in a budget, if that has any left.
func spendOne(budget *policyv1.PodDisruptionBudget, pod *corev1.Pod) (kinds.Object, error) {
	status := &budget.Status
	switch {
	case status.ObservedGeneration < budget.Generation:
		return nil, tooManyDisruptions(budget.Name)
	case status.DisruptionsAllowed < 0:
		return nil, forbidden(budget, "pdb disruptions allowed is negative", "pdb disruptions allowed is negative")
	case len(status.DisruptedPods) > mostPending:
		return nil, forbidden(budget, "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
			"too many pending evictions not confirmed by PDB controller")
	case status.DisruptionsAllowed == 0:
		return nil, noDisruptionLeft(budget)
	}
	status.DisruptionsAllowed--
	if status.DisruptionsAllowed == 0 {
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse,
			Reason: policyv1.InsufficientPodsReason, ObservedGeneration: status.ObservedGeneration,
		})
	}
	if status.DisruptedPods == nil {
		status.DisruptedPods = make(map[string]metav1.Time)
	}
	status.DisruptedPods[pod.Name] = metav1.Now().Rfc3339Copy()
	return budget, nil
}

// violation is what every eviction that a budget forbids for now is told.
const violation = "Cannot evict pod as it would violate the pod's disruption budget."

// tooManyDisruptions says that a budget's status cannot be relied on yet.
func tooManyDisruptions(budget string) error {
	return because(apierrors.NewTooManyRequests(violation, 10), fmt.Sprintf("The disruption budget %s is still being processed by the server.", budget))
}

// noDisruptionLeft says why a budget allows no disruption.
func noDisruptionLeft(budget *policyv1.PodDisruptionBudget) error {
	c := meta.FindStatusCondition(budget.Status.Conditions, policyv1.DisruptionAllowedCondition)
	told := c != nil && c.Status == metav1.ConditionFalse && c.Message != ""
	why := fmt.Sprintf("The disruption budget %s does not allow evicting pods currently", budget.Name)
	switch {
	case told && c.Reason == policyv1.SyncFailedReason:
		why += " because it failed sync: " + c.Message
	case budget.Status.CurrentHealthy <= budget.Status.DesiredHealthy:
		why = fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently",
			budget.Name, budget.Status.DesiredHealthy, budget.Status.CurrentHealthy)
	case told:
		why += fmt.Sprintf(" (%s): %s", c.Reason, c.Message)
	}
	return because(apierrors.NewTooManyRequests(violation, 0), why)
}

func forbidden(budget *policyv1.PodDisruptionBudget, reason, why string) error {
	err := apierrors.NewForbidden(schema.GroupResource{Group: policyv1.GroupName, Resource: "poddisruptionbudget"}, budget.Name, errors.New(reason))
	return because(err, fmt.Sprintf("The disruption budget %s does not allow evicting pods currently: %s", budget.Name, why))
}

func because(err *apierrors.StatusError, why string) error {
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: why})
	return err
}
