package registry

import (
	"context"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/cache"
	"navarch.dev/navarch/services/store/codec"
)

// scalable is what a kind's scale subresource shows and sets.
type scalable struct {
	spec     **int32
	status   int32
	selector string
}

// scalableOf returns the parts of an object that its scale is made of.
func scalableOf(obj kinds.Object) (scalable, error) {
	var s scalable
	var selector *metav1.LabelSelector
	switch o := obj.(type) {
	case *appsv1.Deployment:
		s, selector = scalable{spec: &o.Spec.Replicas, status: o.Status.Replicas}, o.Spec.Selector
	case *appsv1.ReplicaSet:
		s, selector = scalable{spec: &o.Spec.Replicas, status: o.Status.Replicas}, o.Spec.Selector
	case *appsv1.StatefulSet:
		s, selector = scalable{spec: &o.Spec.Replicas, status: o.Status.Replicas}, o.Spec.Selector
	case *corev1.ReplicationController:
		return scalable{spec: &o.Spec.Replicas, status: o.Status.Replicas, selector: labels.Set(o.Spec.Selector).String()}, nil
	default:
		return s, fmt.Errorf("%T has no scale", obj)
	}
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return s, fmt.Errorf("read the selector of %s: %w", obj.GetName(), err)
	}
	s.selector = parsed.String()
	return s, nil
}

// ScaleOf returns an object's scale.
func ScaleOf(obj kinds.Object) (*autoscalingv1.Scale, error) {
	s, err := scalableOf(obj)
	if err != nil {
		return nil, err
	}
	scale := &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name: obj.GetName(), Namespace: obj.GetNamespace(), UID: obj.GetUID(),
			ResourceVersion: obj.GetResourceVersion(), CreationTimestamp: obj.GetCreationTimestamp(),
		},
		Status: autoscalingv1.ScaleStatus{Replicas: s.status, Selector: s.selector},
	}
	if *s.spec != nil {
		scale.Spec.Replicas = **s.spec
	}
	return scale, nil
}

// UpdateScale sets an object's replicas from a scale.
func (r *Registry) UpdateScale(ctx context.Context, w Write, scale *autoscalingv1.Scale) (*cache.Version, error) {
	return r.changeScale(ctx, w, func(*autoscalingv1.Scale) (*autoscalingv1.Scale, error) { return scale, nil })
}

// PatchScale changes an object's scale by a patch.
func (r *Registry) PatchScale(ctx context.Context, w Write, opts PatchOptions) (v *cache.Version, warnings []string, err error) {
	gvk := autoscalingv1.SchemeGroupVersion.WithKind("Scale")
	v, err = r.changeScale(ctx, w, func(cur *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
		cur.SetGroupVersionKind(gvk)
		before, err := json.Marshal(cur)
		if err != nil {
			return nil, fmt.Errorf("encode the scale of %s: %w", w.Name, err)
		}
		after, err := ApplyPatch(before, opts, &autoscalingv1.Scale{})
		if err != nil {
			return nil, err
		}
		scale := &autoscalingv1.Scale{}
		warnings, err = codec.DecodeJSON(after, scale, gvk, opts.Validation)
		return scale, err
	})
	return v, warnings, err
}

func (r *Registry) changeScale(ctx context.Context, w Write, compute func(cur *autoscalingv1.Scale) (*autoscalingv1.Scale, error)) (*cache.Version, error) {
	w.Subresource = ""
	return r.Change(ctx, w, func(cur *cache.Version) (kinds.Object, error) {
		have, err := ScaleOf(cur.Object)
		if err != nil {
			return nil, err
		}
		scale, err := compute(have)
		if err != nil {
			return nil, err
		}
		if err := validateScale(w, scale); err != nil {
			return nil, err
		}
		obj := cur.Object.DeepCopyObject().(kinds.Object)
		s, err := scalableOf(obj)
		if err != nil {
			return nil, err
		}
		replicas := scale.Spec.Replicas
		*s.spec = &replicas
		obj.SetResourceVersion(scale.ResourceVersion)
		if scale.UID != "" {
			obj.SetUID(scale.UID)
		}
		return obj, nil
	})
}

func validateScale(w Write, scale *autoscalingv1.Scale) error {
	if scale.Spec.Replicas >= 0 {
		return nil
	}
	return invalid(&kinds.Kind{Group: "autoscaling", Version: "v1", Kind: "Scale"}, w.Name, field.ErrorList{
		field.Invalid(field.NewPath("spec", "replicas"), scale.Spec.Replicas, "must be greater than or equal to 0"),
	})
}
