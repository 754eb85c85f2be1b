package store

import (
	"context"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/codec"
)

// Update implements the RPC.
func (s *Store) Update(ctx context.Context, req *storev1.UpdateRequest) (resp *storev1.UpdateResponse, err error) {
	sc, err := s.enter(ctx, target{
		resource: req.GetResource(), verb: "update", namespace: req.GetNamespace(), name: req.GetName(), subresource: req.GetSubresource(),
	})
	if err != nil {
		return nil, err
	}
	defer sc.leave()
	if err := sc.only("update", "status", "scale", "finalize", "approval", "ephemeralcontainers", "resize"); err != nil {
		return nil, err
	}
	if err := sc.named(); err != nil {
		return nil, err
	}
	ctx, span := s.span(ctx, "store.Update", sc)
	defer func() { err = s.conclude(ctx, sc, err); finish(span, err) }()
	if sc.subresource == "scale" {
		return s.updateScale(ctx, sc, req)
	}
	obj, warnings, err := codec.DecodeKind(req.GetObject(), sc.kind, req.GetOptions().GetFieldValidation())
	if err != nil {
		return nil, err
	}
	sc.warnings.Add(warnings...)
	s.noteObject(ctx, sc, obj)
	w := sc.write(req.GetOptions())
	v, created, err := s.registry.Update(ctx, w, obj, s.mayCreate(ctx, sc, req.GetResource()))
	if err != nil {
		return nil, err
	}
	a, err := s.answer(sc, v, req.GetOptions())
	if err != nil {
		return nil, err
	}
	return &storev1.UpdateResponse{Object: a.object, Warnings: w.Warnings.All(), TableColumns: a.columns, Created: created}, nil
}

// mayCreate returns what decides whether a caller that has entered for another
// verb may create the object too.
func (s *Store) mayCreate(ctx context.Context, sc scope, resource *storev1.Resource) func() error {
	return func() error {
		_, err := s.enterAtOnce(ctx, target{resource: resource, verb: "create", namespace: sc.namespace, name: sc.name})
		return err
	}
}
