package store

import (
	"context"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/cache"
	"navarch.dev/navarch/services/store/codec"
	"navarch.dev/navarch/services/store/registry"
)

// scaleGVK is the form in which every kind's scale is shown.
func scaleGVK() schema.GroupVersionKind { return autoscalingv1.SchemeGroupVersion.WithKind("Scale") }

// scaleObject shows an object's scale.
func (s *Store) scaleObject(v *cache.Version, f cache.Form) (*storev1.Object, error) {
	scale, err := registry.ScaleOf(v.Kind(), v.Object())
	if err != nil {
		return nil, err
	}
	obj, err := cache.EncodeUnstored(scale, scaleGVK(), f)
	if err != nil {
		return nil, err
	}
	obj.Trace = v.Trace
	return obj, nil
}

func (s *Store) updateScale(ctx context.Context, sc scope, req *storev1.UpdateRequest) (*storev1.UpdateResponse, error) {
	scale := &autoscalingv1.Scale{}
	warnings, err := codec.Decode(req.GetObject(), scale, scaleGVK(), req.GetOptions().GetFieldValidation())
	if err != nil {
		return nil, err
	}
	w := sc.write(req.GetOptions())
	v, err := s.registry.UpdateScale(ctx, w, scale)
	if err != nil {
		return nil, err
	}
	obj, err := s.scaleObject(v, form(req.GetOptions()))
	return &storev1.UpdateResponse{Object: obj, Warnings: append(warnings, w.Warnings.All()...)}, err
}

func (s *Store) patchScale(ctx context.Context, sc scope, req *storev1.PatchRequest, opts registry.PatchOptions) (*storev1.PatchResponse, error) {
	w := sc.write(req.GetOptions())
	v, warnings, err := s.registry.PatchScale(ctx, w, opts)
	if err != nil {
		return nil, err
	}
	obj, err := s.scaleObject(v, form(req.GetOptions()))
	return &storev1.PatchResponse{Object: obj, Warnings: append(warnings, w.Warnings.All()...)}, err
}
