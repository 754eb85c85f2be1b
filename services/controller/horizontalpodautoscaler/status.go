package horizontalpodautoscaler

import (
	"context"
	"fmt"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func metaTime(t time.Time) metav1.Time { return metav1.NewTime(t.Truncate(time.Second)) }

// set sets a condition. The time of its last transition stays if its status
// does.
func (r *round) set(t autoscalingv2.HorizontalPodAutoscalerConditionType, status corev1.ConditionStatus, reason, message string) {
	fresh := autoscalingv2.HorizontalPodAutoscalerCondition{
		Type: t, Status: status, Reason: reason, Message: message, LastTransitionTime: metaTime(r.now),
	}
	for i, c := range r.hpa.Status.Conditions {
		if c.Type != t {
			continue
		}
		if c.Status == status {
			fresh.LastTransitionTime = c.LastTransitionTime
		}
		r.hpa.Status.Conditions[i] = fresh
		return
	}
	r.hpa.Status.Conditions = append(r.hpa.Status.Conditions, fresh)
}

// writeStatus stores the status unless the stored one is the same.
func (r *round) writeStatus(ctx context.Context, stored *autoscalingv2.HorizontalPodAutoscaler) error {
	if equality.Semantic.DeepEqual(stored.Status, r.hpa.Status) {
		return nil
	}
	if err := r.client.UpdateStatus(ctx, r.hpa); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("update the status: %w", err)
	}
	return nil
}
