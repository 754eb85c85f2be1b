package store

import (
	"context"
	"fmt"
	"net"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/cache"
)

// Connect implements the RPC.
func (s *Store) Connect(ctx context.Context, req *storev1.ConnectRequest) (*storev1.ConnectResponse, error) {
	verb := req.GetVerb()
	if verb == "" {
		verb = "get"
	}
	sc, err := s.enter(ctx, target{
		resource: req.GetResource(), verb: verb, namespace: req.GetNamespace(), name: req.GetName(), subresource: req.GetSubresource(),
	})
	if err != nil {
		return nil, err
	}
	if err := sc.only(verb, "log", "exec", "attach", "portforward", "proxy"); err != nil {
		return nil, err
	}
	if err := sc.named(); err != nil {
		return nil, err
	}
	v, err := s.find(ctx, sc, "")
	if err != nil {
		return nil, err
	}
	node, err := s.nodeOf(ctx, sc, v)
	if err != nil {
		return nil, err
	}
	obj, err := v.Encode(cache.Form{})
	if err != nil {
		return nil, err
	}
	endpoint, err := nodeEndpoint(node)
	return &storev1.ConnectResponse{Object: obj, NodeName: node.Name, NodeEndpoint: endpoint}, err
}

// nodeOf returns the node that serves an object's streams.
func (s *Store) nodeOf(ctx context.Context, sc scope, v *cache.Version) (*corev1.Node, error) {
	switch obj := v.Object.(type) {
	case *corev1.Node:
		return obj, nil
	case *corev1.Pod:
		if obj.Spec.NodeName == "" {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", obj.Name))
		}
		kind, err := s.kinds.ForObject(&corev1.Node{})
		if err != nil {
			return nil, err
		}
		node, err := s.find(ctx, scope{kind: kind, name: obj.Spec.NodeName}, "0")
		if err != nil {
			return nil, err
		}
		return node.Object.(*corev1.Node), nil
	}
	return nil, apierrors.NewMethodNotSupported(sc.kind.GroupResource(), "connect")
}

// nodeEndpoint returns where a node's agent serves.
func nodeEndpoint(node *corev1.Node) (string, error) {
	port := node.Status.DaemonEndpoints.KubeletEndpoint.Port
	for _, t := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP, corev1.NodeHostName} {
		for _, a := range node.Status.Addresses {
			if a.Type == t && port > 0 {
				return net.JoinHostPort(a.Address, strconv.Itoa(int(port))), nil
			}
		}
	}
	return "", apierrors.NewServiceUnavailable(fmt.Sprintf("node %s has not reported an address and a port", node.Name))
}
