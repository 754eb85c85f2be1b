package store

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/servicecidr"
	"navarch.dev/navarch/services/store/registry"
)

// restore makes what was just removed anew if no cluster is without it: by the
// Service default/kubernetes pods reach the API, and "delete everything in this
// namespace" is not meant to take that away; nor has a cluster been without the
// ServiceCIDR that it is configured with.
func (s *Store) restore(ctx context.Context, gone kinds.Object) {
	if cidr, ok := gone.(*networkingv1.ServiceCIDR); ok && cidr.Name == servicecidr.Default {
		if err := s.configuredCIDR(context.WithoutCancel(ctx)); err != nil {
			s.tel.Log.WarnContext(ctx, "the configured ServiceCIDR could not be made again", "error", err)
		}
		return
	}
	if gone.GetNamespace() != metav1.NamespaceDefault || gone.GetName() != apiService {
		return
	}
	var obj kinds.Object
	switch gone.(type) {
	case *corev1.Service:
		services, err := s.firstServices()
		if err != nil {
			return // the configuration was valid at start
		}
		obj = services[0]
	case *corev1.Endpoints:
		obj = s.gatewayEndpoints()
	case *discoveryv1.EndpointSlice:
		obj = s.gatewaySlice()
	}
	if _, service := obj.(*corev1.Service); obj == nil || !service && len(s.gateways()) == 0 {
		return
	}
	kind, err := s.kinds.ForObject(obj)
	if err != nil {
		return
	}
	w := registry.Write{
		Kind: kind, Namespace: obj.GetNamespace(), User: identity.Service(identity.Store), Manager: fieldManager, Verb: "create",
	}
	_, err = s.registry.Create(context.WithoutCancel(ctx), w, obj)
	if err != nil && !apierrors.IsAlreadyExists(err) {
		s.tel.Log.WarnContext(ctx, "a part of the Service default/kubernetes could not be made again", "kind", kind.Kind, "error", err)
	}
}
