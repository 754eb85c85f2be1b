package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/podconn"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// AgentDialer connects to the Node service of an agent.
type AgentDialer interface {
	// Dial returns a connection to the agent of node at endpoint (host:port),
	// new or kept.
	Dial(ctx context.Context, node, endpoint string) (grpc.ClientConnInterface, error)
}

// endpointTimeout is the longest wait for an endpoint that is no pod.
const endpointTimeout = 30 * time.Second

// serviceDialer connects to Services for those who run in the Store, where
// cluster IPs may lead nowhere: to pods through the agents of their nodes.
type serviceDialer struct{ store *Store }

// DialService implements webhook.ServiceDialer.
func (d serviceDialer) DialService(ctx context.Context, namespace, name string, port int32) (net.Conn, error) {
	s := d.store
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
		return nil, fmt.Errorf("no service port %d found for service %q", port, name)
	case service.Spec.Type == corev1.ServiceTypeExternalName:
		return dialEndpoint(ctx, service.Spec.ExternalName, port)
	}
	candidates, err := s.endpointsOf(ctx, service, portName)
	if err != nil {
		return nil, err
	}
	if len(candidates) == 0 {
		return nil, fmt.Errorf("no endpoints available for service %q", name)
	}
	chosen := candidates[rand.IntN(len(candidates))]
	if chosen.pod == "" {
		return dialEndpoint(ctx, chosen.address, chosen.port)
	}
	return s.dialPod(ctx, namespace, chosen)
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

func dialEndpoint(ctx context.Context, host string, port int32) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, endpointTimeout)
	defer cancel()
	return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(port))))
}

// dialPod connects to a pod's port through its agent.
func (s *Store) dialPod(ctx context.Context, namespace string, e proxyEndpoint) (net.Conn, error) {
	if s.cfg.Agents == nil {
		return nil, errors.New("this Store does not connect to agents")
	}
	pod, err := s.findPod(ctx, namespace, e.pod)
	if err != nil {
		return nil, err
	}
	node, err := s.nodeOf(ctx, pod.Object())
	if err != nil {
		return nil, err
	}
	endpoint, err := nodeEndpoint(node)
	if err != nil {
		return nil, err
	}
	agent, err := s.cfg.Agents.Dial(ctx, node.Name, endpoint)
	if err != nil {
		return nil, fmt.Errorf("connect to node %s: %w", node.Name, err)
	}
	return podconn.Dial(ctx, nodev1.NewNodeServiceClient(agent), &nodev1.PortForwardStart{
		Namespace: namespace, Pod: e.pod, Port: uint32(e.port), Address: e.address,
	}), nil
}
