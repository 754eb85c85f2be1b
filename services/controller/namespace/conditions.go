package namespace

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/inventory"
)

// remaining are a namespace's objects of one kind.
type remaining struct {
	resource schema.GroupResource
	count    int
	// finalizers counts the objects that each finalizer holds back.
	finalizers map[string]int
}

func remainingOf(kind *kinds.Kind, objs []*inventory.Object) remaining {
	r := remaining{resource: kind.GroupResource(), count: len(objs), finalizers: make(map[string]int)}
	for _, obj := range objs {
		for _, f := range obj.Finalizers {
			r.finalizers[f]++
		}
	}
	return r
}

// writeConditions shows in the namespace's status what holds it back.
func (r *reconciler) writeConditions(ctx context.Context, ns *corev1.Namespace, left []remaining, failure error) error {
	changed := ns.DeepCopy()
	changed.Status.Phase = corev1.NamespaceTerminating
	for _, c := range conditions(left, failure) {
		setCondition(&changed.Status, c, time.Now())
	}
	if equality.Semantic.DeepEqual(ns.Status, changed.Status) {
		return nil
	}
	err := r.client.UpdateStatus(ctx, changed)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("write what remains in the namespace: %w", err)
	}
	return nil
}

func conditions(left []remaining, failure error) []corev1.NamespaceCondition {
	c := []corev1.NamespaceCondition{
		{Type: corev1.NamespaceDeletionContentFailure, Status: corev1.ConditionFalse, Reason: "ContentDeleted",
			Message: "All content successfully deleted, may be waiting on finalization"},
		{Type: corev1.NamespaceContentRemaining, Status: corev1.ConditionFalse, Reason: "ContentRemoved",
			Message: "All content successfully removed"},
		{Type: corev1.NamespaceFinalizersRemaining, Status: corev1.ConditionFalse, Reason: "ContentHasNoFinalizers",
			Message: "All content-preserving finalizers finished"},
	}
	if failure != nil {
		c[0].Status, c[0].Reason, c[0].Message = corev1.ConditionTrue, "ContentDeletionFailed", failure.Error()
	}
	if len(left) > 0 {
		c[1].Status, c[1].Reason, c[1].Message = corev1.ConditionTrue, "SomeResourcesRemain", resourcesMessage(left)
	}
	if m := finalizersMessage(left); m != "" {
		c[2].Status, c[2].Reason, c[2].Message = corev1.ConditionTrue, "SomeFinalizersRemain", m
	}
	return c
}

func resourcesMessage(left []remaining) string {
	parts := make([]string, len(left))
	for i, r := range left {
		parts[i] = fmt.Sprintf("%s has %d resource instances", r.resource, r.count)
	}
	slices.Sort(parts)
	return "Some resources are remaining: " + strings.Join(parts, ", ")
}

func finalizersMessage(left []remaining) string {
	total := make(map[string]int)
	for _, r := range left {
		for f, n := range r.finalizers {
			total[f] += n
		}
	}
	if len(total) == 0 {
		return ""
	}
	var parts []string
	for _, f := range slices.Sorted(maps.Keys(total)) {
		parts = append(parts, fmt.Sprintf("%s in %d resource instances", f, total[f]))
	}
	return "Some content in the namespace has finalizers remaining: " + strings.Join(parts, ", ")
}

// setCondition puts a condition in place of the one of its type. Only a change
// of status is a transition.
func setCondition(s *corev1.NamespaceStatus, c corev1.NamespaceCondition, now time.Time) {
	c.LastTransitionTime = metav1.NewTime(now)
	for i, have := range s.Conditions {
		if have.Type == c.Type {
			if have.Status == c.Status {
				c.LastTransitionTime = have.LastTransitionTime
			}
			s.Conditions[i] = c
			return
		}
	}
	s.Conditions = append(s.Conditions, c)
}
