package store

import (
	"context"

	autoscalingv1 "k8s.io/api/autoscaling/v1"

	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/cache"
	"navarch.dev/navarch/services/store/codec"
	"navarch.dev/navarch/services/store/registry"
)

// shownScale is an object's scale in the form in which it was asked for, with the
// columns of a table.
type shownScale struct {
	object  *storev1.Object
	columns []byte
}

func showScale(v *cache.Version, f cache.Form) (shownScale, error) {
	scale, err := registry.ScaleOf(v.Kind(), v.Object())
	if err != nil {
		return shownScale{}, err
	}
	out := shownScale{}
	if out.object, err = cache.EncodeShown(kinds.Scale(), scale, f); err != nil {
		return shownScale{}, err
	}
	out.object.Trace = v.Trace
	out.columns, err = columns(kinds.Scale(), f)
	return out, err
}

func (s *Store) updateScale(ctx context.Context, sc scope, req *storev1.UpdateRequest) (*storev1.UpdateResponse, error) {
	scale := &autoscalingv1.Scale{}
	warnings, err := codec.Decode(req.GetObject(), scale, kinds.Scale().GVK(), req.GetOptions().GetFieldValidation())
	if err != nil {
		return nil, err
	}
	w := sc.write(req.GetOptions())
	v, err := s.registry.UpdateScale(ctx, w, scale)
	if err != nil {
		return nil, err
	}
	shown, err := showScale(v, form(req.GetOptions()))
	return &storev1.UpdateResponse{Object: shown.object, TableColumns: shown.columns, Warnings: append(warnings, w.Warnings.All()...)}, err
}

func (s *Store) patchScale(ctx context.Context, sc scope, req *storev1.PatchRequest, opts registry.PatchOptions) (*storev1.PatchResponse, error) {
	w := sc.write(req.GetOptions())
	v, warnings, err := s.registry.PatchScale(ctx, w, opts)
	if err != nil {
		return nil, err
	}
	shown, err := showScale(v, form(req.GetOptions()))
	return &storev1.PatchResponse{Object: shown.object, TableColumns: shown.columns, Warnings: append(warnings, w.Warnings.All()...)}, err
}
