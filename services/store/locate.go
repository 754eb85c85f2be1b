package store

import (
	"context"
	"fmt"
	"math/rand/v2"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/access"
)

// Locate implements the RPC.
func (s *Store) Locate(ctx context.Context, req *storev1.LocateRequest) (*storev1.LocateResponse, error) {
	user, err := s.caller(ctx)
	if err != nil {
		return nil, err
	}
	err = s.authorize(ctx, access.Attributes{
		User: user, Verb: "get", Version: "v1", Resource: "services", Subresource: "proxy", Namespace: req.GetNamespace(), Name: req.GetService(),
	})
	if err != nil {
		return nil, err
	}
	return s.locate(ctx, req.GetNamespace(), req.GetService(), req.GetPort())
}

// locate returns where one of a Service's ready endpoints is.
func (s *Store) locate(ctx context.Context, namespace, name string, port int32) (*storev1.LocateResponse, error) {
	obj, err := s.Reader().Get(ctx, corev1.SchemeGroupVersion.WithResource("services"), namespace, name)
	if apierrors.IsNotFound(err) {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "service"}, name)
	}
	if err != nil {
		return nil, err
	}
	service := obj.(*corev1.Service)
	portName, ok := namedPort(service, port)
	switch {
	case !ok:
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", port, name))
	case service.Spec.Type == corev1.ServiceTypeExternalName:
		return &storev1.LocateResponse{TargetAddress: service.Spec.ExternalName, TargetPort: port}, nil
	}
	candidates, err := s.endpointsOf(ctx, service, portName)
	if err != nil {
		return nil, err
	}
	if len(candidates) == 0 {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", name))
	}
	chosen := candidates[rand.IntN(len(candidates))]
	found := &storev1.LocateResponse{Pod: chosen.pod, TargetAddress: chosen.address, TargetPort: chosen.port}
	if chosen.pod == "" {
		return found, nil
	}
	pod, err := s.findPod(ctx, namespace, chosen.pod)
	if err != nil {
		return nil, err
	}
	node, err := s.nodeOf(ctx, pod.Object())
	if err != nil {
		return nil, err
	}
	found.NodeName = node.Name
	found.NodeEndpoint, err = nodeEndpoint(node)
	return found, err
}

// namedPort returns the name of a Service's port.
func namedPort(service *corev1.Service, port int32) (string, bool) {
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return "", true
	}
	for _, p := range service.Spec.Ports {
		if p.Port == port {
			return p.Name, true
		}
	}
	return "", false
}
