package horizontalpodautoscaler

import (
	"context"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/scale"
)

// rescaleAttempts is how often a scale that somebody else changes meanwhile is
// read again.
const rescaleAttempts = 5

// targetKind returns the kind that an autoscaler scales.
func (r *round) targetKind() (*kinds.Kind, error) {
	ref := r.hpa.Spec.ScaleTargetRef
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil, fmt.Errorf("read the target's API version: %w", err)
	}
	return scale.KindOf(r.kinds, schema.GroupVersionKind{Group: gv.Group, Kind: ref.Kind})
}

func (r *round) readScale(ctx context.Context) (*kinds.Kind, *autoscalingv1.Scale, error) {
	kind, err := r.targetKind()
	if err != nil {
		return nil, nil, err
	}
	s, err := r.getScale(ctx, kind)
	return kind, s, err
}

func (r *round) getScale(ctx context.Context, kind *kinds.Kind) (*autoscalingv1.Scale, error) {
	return scale.Get(ctx, r.client, kind, r.hpa.Namespace, r.hpa.Spec.ScaleTargetRef.Name)
}

// writeScale sets the target's number of replicas. The decision stands when
// somebody else changes another part of the target meanwhile.
func (r *round) writeScale(ctx context.Context, kind *kinds.Kind, s *autoscalingv1.Scale, replicas int32) error {
	var err error
	for range rescaleAttempts {
		s.Spec.Replicas = replicas
		if err = scale.Update(ctx, r.client, kind, s); !apierrors.IsConflict(err) {
			return err
		}
		fresh, readErr := r.getScale(ctx, kind)
		if readErr != nil {
			return readErr
		}
		s = fresh
	}
	return err
}
