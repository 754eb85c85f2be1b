package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/cache"
)

// connectProxy finds where a proxied request goes: a port of the pod, or of
// one of the Service's endpoints, or the node's agent.
func (s *Store) connectProxy(ctx context.Context, v *cache.Version, port string) (*storev1.ConnectResponse, error) {
	switch obj := v.Object().(type) {
	case *corev1.Pod:
		number, err := podPort(obj, port)
		if err != nil {
			return nil, err
		}
		return s.proxyToPod(ctx, v, obj.Status.PodIP, number)
	case *corev1.Service:
		return s.proxyToService(ctx, v, obj, port)
	case *corev1.Node:
		return proxyToNode(obj, port)
	}
	return nil, apierrors.NewBadRequest("only pods, services and nodes can be proxied to")
}

// proxyToNode leads to the node's agent. What else listens on a node is not
// reached through it.
func proxyToNode(node *corev1.Node, port string) (*storev1.ConnectResponse, error) {
	if agent := strconv.Itoa(int(node.Status.DaemonEndpoints.KubeletEndpoint.Port)); port != "" && port != agent {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("port %q of node %q is not its agent's, which is %s", port, node.Name, agent))
	}
	endpoint, err := nodeEndpoint(node)
	return &storev1.ConnectResponse{NodeName: node.Name, NodeEndpoint: endpoint}, err
}

func (s *Store) proxyToPod(ctx context.Context, v *cache.Version, address string, port int32) (*storev1.ConnectResponse, error) {
	pod := v.Object().(*corev1.Pod)
	if address == "" {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("address not allowed: pod %s has none yet", pod.Name))
	}
	node, err := s.nodeOf(ctx, pod)
	if err != nil {
		return nil, err
	}
	endpoint, err := nodeEndpoint(node)
	if err != nil {
		return nil, err
	}
	obj, err := v.Encode(cache.Form{})
	return &storev1.ConnectResponse{
		Object: obj, NodeName: node.Name, NodeEndpoint: endpoint, TargetAddress: address, TargetPort: uint32(port),
	}, err
}

// podPort returns the port that a request means: by default the first that the
// pod declares, or else 80.
func podPort(pod *corev1.Pod, port string) (int32, error) {
	if port != "" {
		return portNumber(port)
	}
	for i := range pod.Spec.Containers {
		if ports := pod.Spec.Containers[i].Ports; len(ports) > 0 {
			return ports[0].ContainerPort, nil
		}
	}
	return 80, nil
}

func portNumber(port string) (int32, error) {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return 0, apierrors.NewBadRequest(fmt.Sprintf("invalid port %q: it must be a number from 1 to 65535", port))
	}
	return int32(n), nil
}

func (s *Store) proxyToService(ctx context.Context, v *cache.Version, service *corev1.Service, port string) (*storev1.ConnectResponse, error) {
	name, err := portName(service, port)
	if err != nil {
		return nil, err
	}
	candidates, err := s.endpointsOf(ctx, service, name)
	if err != nil {
		return nil, err
	}
	if len(candidates) == 0 {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", service.Name))
	}
	chosen := candidates[rand.IntN(len(candidates))]
	if chosen.pod != "" {
		pod, err := s.findPod(ctx, service.Namespace, chosen.pod)
		if err != nil {
			return nil, err
		}
		return s.proxyToPod(ctx, pod, chosen.address, chosen.port)
	}
	obj, err := v.Encode(cache.Form{})
	return &storev1.ConnectResponse{Object: obj, TargetAddress: chosen.address, TargetPort: uint32(chosen.port)}, err
}

// portName returns the name of the Service's port that a request means by its
// number or name. A Service with one port needs neither.
func portName(service *corev1.Service, port string) (string, error) {
	if port == "" && len(service.Spec.Ports) == 1 {
		return service.Spec.Ports[0].Name, nil
	}
	for _, p := range service.Spec.Ports {
		if p.Name == port || strconv.Itoa(int(p.Port)) == port {
			return p.Name, nil
		}
	}
	return "", apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %q found for service %q", port, service.Name))
}

// proxyEndpoint is one that can answer. pod is empty if it is none.
type proxyEndpoint struct {
	address, pod string
	port         int32
}

// endpointsOf returns a Service's ready endpoints for a port.
func (s *Store) endpointsOf(ctx context.Context, service *corev1.Service, port string) ([]proxyEndpoint, error) {
	slices, err := s.registry.Reader().List(ctx, discoveryv1.SchemeGroupVersion.WithResource("endpointslices"), service.Namespace)
	if err != nil {
		return nil, err
	}
	var out []proxyEndpoint
	for _, obj := range slices {
		slice := obj.(*discoveryv1.EndpointSlice)
		number := slicePort(slice, port)
		if slice.Labels[discoveryv1.LabelServiceName] != service.Name || number == 0 {
			continue
		}
		for _, e := range slice.Endpoints {
			if len(e.Addresses) == 0 || !ptr.Deref(e.Conditions.Ready, true) {
				continue
			}
			endpoint := proxyEndpoint{address: e.Addresses[0], port: number}
			if ref := e.TargetRef; ref != nil && ref.Kind == "Pod" && ref.Namespace == service.Namespace {
				endpoint.pod = ref.Name
			}
			out = append(out, endpoint)
		}
	}
	return out, nil
}

// slicePort returns the number of a port by its name, 0 if the slice has none.
func slicePort(slice *discoveryv1.EndpointSlice, name string) int32 {
	for _, p := range slice.Ports {
		if ptr.Deref(p.Name, "") == name {
			return ptr.Deref(p.Port, 0)
		}
	}
	return 0
}

func (s *Store) findPod(ctx context.Context, namespace, name string) (*cache.Version, error) {
	kind, err := s.kinds.ForObject(&corev1.Pod{})
	if err != nil {
		return nil, err
	}
	return s.find(ctx, scope{kind: kind, namespace: namespace, name: name}, "0")
}
