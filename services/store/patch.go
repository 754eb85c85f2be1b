package store

import (
	"context"
	"slices"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/registry"
)

// Patch implements the RPC.
func (s *Store) Patch(ctx context.Context, req *storev1.PatchRequest) (resp *storev1.PatchResponse, err error) {
	sc, err := s.enter(ctx, target{
		resource: req.GetResource(), verb: "patch", namespace: req.GetNamespace(), name: req.GetName(), subresource: req.GetSubresource(),
	})
	if err != nil {
		return nil, err
	}
	defer sc.leave()
	if err := sc.only("patch", "status", "scale", "approval", "ephemeralcontainers", "resize"); err != nil {
		return nil, err
	}
	if err := sc.named(); err != nil {
		return nil, err
	}
	ctx, span := s.span(ctx, "store.Patch", sc)
	defer func() { err = s.conclude(ctx, sc, err); finish(span, err) }()
	opts := registry.PatchOptions{
		Type: req.GetType(), Patch: req.GetPatch(), Validation: req.GetOptions().GetFieldValidation(), Force: req.GetForce(),
	}
	if sc.subresource == "scale" {
		return s.patchScale(ctx, sc, req, opts)
	}
	done, err := s.patch(ctx, sc, req, opts)
	if err != nil {
		return nil, err
	}
	a, err := s.answer(sc, done.Version, req.GetOptions())
	if err != nil {
		return nil, err
	}
	return &storev1.PatchResponse{Object: a.object, Warnings: done.Warnings, Created: done.Created, TableColumns: a.columns}, nil
}

// patch applies or patches.
func (s *Store) patch(ctx context.Context, sc scope, req *storev1.PatchRequest, opts registry.PatchOptions) (done registry.Applied, err error) {
	w := sc.write(req.GetOptions())
	if opts.Type != storev1.PatchType_PATCH_TYPE_APPLY {
		done.Version, done.Warnings, err = s.registry.Patch(ctx, w, opts)
		done.Warnings = slices.Concat(done.Warnings, w.Warnings.All())
		return done, err
	}
	w.Verb = "apply"
	opts.MayCreate = s.mayCreate(ctx, sc, req.GetResource())
	done, err = s.registry.Apply(ctx, w, opts)
	done.Warnings = slices.Concat(done.Warnings, w.Warnings.All())
	return done, err
}
