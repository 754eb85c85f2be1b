package registry

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/backend"
)

// ServiceAllocator hands out the cluster IPs and node ports of Services. What
// it hands out counts once the operations that it returns are committed; they
// fail if somebody else was faster.
type ServiceAllocator interface {
	// Claim fills in the addresses that svc needs and has not got, and returns
	// the operations that take them and give back those of old that svc no
	// longer has. old is nil for a new Service. Errors are API errors.
	Claim(ctx context.Context, svc, old *corev1.Service) ([]backend.Op, error)
	// Release returns the operations that give back all that svc holds.
	Release(svc *corev1.Service) []backend.Op
}

// claims returns the operations that take what obj needs beside its own key.
func (r *Registry) claims(ctx context.Context, w Write, obj, old kinds.Object) ([]backend.Op, error) {
	svc, ok := obj.(*corev1.Service)
	if !ok || r.Services == nil || w.Subresource != "" {
		return nil, nil
	}
	was, _ := old.(*corev1.Service)
	return r.Services.Claim(ctx, svc, was)
}
