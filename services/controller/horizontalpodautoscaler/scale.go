package horizontalpodautoscaler

import (
	"context"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
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
	for _, k := range kinds.Default().All() {
		if k.Group == gv.Group && k.Kind == ref.Kind {
			if !k.HasSubresource("scale") {
				return nil, fmt.Errorf("%s does not implement the scale subresource", k.GroupResource())
			}
			return k, nil
		}
	}
	return nil, fmt.Errorf("no matches for kind %q in group %q", ref.Kind, gv.Group)
}

func (r *round) readScale(ctx context.Context) (*kinds.Kind, *autoscalingv1.Scale, error) {
	kind, err := r.targetKind()
	if err != nil {
		return nil, nil, err
	}
	scale, err := r.getScale(ctx, kind)
	return kind, scale, err
}

func (r *round) getScale(ctx context.Context, kind *kinds.Kind) (*autoscalingv1.Scale, error) {
	resp, err := r.client.Store().Get(ctx, &storev1.GetRequest{
		Resource:  &storev1.Resource{Group: kind.Group, Version: kind.Version, Resource: kind.Resource},
		Namespace: r.hpa.Namespace, Name: r.hpa.Spec.ScaleTargetRef.Name, Subresource: "scale",
	})
	if err != nil {
		return nil, apistatus.FromGRPC(err)
	}
	scale := &autoscalingv1.Scale{}
	if err := kinds.Decode(resp.GetObject().GetObject(), scale); err != nil {
		return nil, fmt.Errorf("read the scale of %s: %w", r.hpa.Spec.ScaleTargetRef.Name, err)
	}
	return scale, nil
}

// writeScale sets the target's number of replicas. The decision stands when
// somebody else changes another part of the target meanwhile.
func (r *round) writeScale(ctx context.Context, kind *kinds.Kind, scale *autoscalingv1.Scale, replicas int32) error {
	var err error
	for range rescaleAttempts {
		scale.Spec.Replicas = replicas
		if err = r.updateScale(ctx, kind, scale); !apierrors.IsConflict(err) {
			return err
		}
		fresh, readErr := r.getScale(ctx, kind)
		if readErr != nil {
			return readErr
		}
		scale = fresh
	}
	return err
}

func (r *round) updateScale(ctx context.Context, kind *kinds.Kind, scale *autoscalingv1.Scale) error {
	body, err := kinds.Encode(scale)
	if err != nil {
		return err
	}
	_, err = r.client.Store().Update(ctx, &storev1.UpdateRequest{
		Resource:  &storev1.Resource{Group: kind.Group, Version: kind.Version, Resource: kind.Resource},
		Namespace: r.hpa.Namespace, Name: r.hpa.Spec.ScaleTargetRef.Name, Subresource: "scale",
		Object: &storev1.Object{Object: body}, Options: &storev1.WriteOptions{FieldManager: "navarch-controller"},
	})
	if err != nil {
		return apistatus.FromGRPC(err)
	}
	return nil
}
