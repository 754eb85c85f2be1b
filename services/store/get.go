package store

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/cache"
)

// Get implements the RPC.
func (s *Store) Get(ctx context.Context, req *storev1.GetRequest) (*storev1.GetResponse, error) {
	sc, err := s.enter(ctx, target{
		resource: req.GetResource(), verb: "get", namespace: req.GetNamespace(), name: req.GetName(), subresource: req.GetSubresource(),
	})
	if err != nil {
		return nil, err
	}
	defer sc.leave()
	if err := sc.only("get", "status", "scale", "approval", "ephemeralcontainers", "resize"); err != nil {
		return nil, err
	}
	if err := sc.named(); err != nil {
		return nil, err
	}
	v, err := s.find(ctx, sc, req.GetResourceVersion())
	if err != nil {
		return nil, err
	}
	f := cache.Form{Encoding: req.GetEncoding(), Projection: req.GetProjection()}
	if sc.subresource == "scale" {
		shown, err := showScale(v, f)
		return &storev1.GetResponse{Object: shown.object, TableColumns: shown.columns}, err
	}
	obj, err := v.Encode(f)
	if err != nil {
		return nil, err
	}
	cols, err := columns(sc.kind, f)
	return &storev1.GetResponse{Object: obj, TableColumns: cols}, err
}

// find returns the object that a scope names, as new as rv asks.
func (s *Store) find(ctx context.Context, sc scope, rv string) (*cache.Version, error) {
	if sc.kind.ReadOnly {
		return s.component(ctx, sc)
	}
	c := s.registry.Cache(sc.kind)
	if err := s.await(ctx, c, rv); err != nil {
		return nil, err
	}
	v := c.Get(s.registry.Key(sc.kind, sc.namespace, sc.name))
	if v == nil {
		return nil, apierrors.NewNotFound(sc.kind.GroupResource(), sc.name)
	}
	return v.As(sc.kind)
}
