package store

import (
	"context"
	"fmt"
	"net"
	"reflect"
	"strconv"

	"google.golang.org/protobuf/types/known/anypb"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/cache"
)

// Connect implements the RPC.
func (s *Store) Connect(ctx context.Context, req *storev1.ConnectRequest) (*storev1.ConnectResponse, error) {
	verb := req.GetVerb()
	if verb == "" {
		verb = "get"
	}
	sc, err := s.enterAtOnce(ctx, target{
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
	if err := s.conclude(ctx, sc, s.judgeStream(ctx, sc, req.GetOptions())); err != nil {
		return nil, err
	}
	if sc.subresource == "proxy" {
		return s.connectProxy(ctx, v, req.GetPort())
	}
	node, err := s.nodeOf(ctx, v.Object())
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

// judgeStream asks webhooks and policies about a stream. Reading a log is not
// one to them.
func (s *Store) judgeStream(ctx context.Context, sc scope, given *anypb.Any) error {
	options := streamOptions(sc)
	if options == nil {
		return nil
	}
	if given != nil {
		if err := kinds.Decode(given, options); err != nil {
			return apierrors.NewBadRequest(err.Error())
		}
	}
	gvk := corev1.SchemeGroupVersion.WithKind(reflect.TypeOf(options).Elem().Name())
	options.GetObjectKind().SetGroupVersionKind(gvk)
	return s.registry.JudgeStream(ctx, sc.write(nil), options, gvk)
}

// streamOptions returns empty options of a stream, nil for what is none.
func streamOptions(sc scope) runtime.Object {
	switch sc.subresource {
	case "exec":
		return &corev1.PodExecOptions{}
	case "attach":
		return &corev1.PodAttachOptions{}
	case "portforward":
		return &corev1.PodPortForwardOptions{}
	case "proxy":
		if sc.kind.Kind == "Service" {
			return &corev1.ServiceProxyOptions{}
		}
		return &corev1.PodProxyOptions{}
	}
	return nil
}

// nodeOf returns the node that serves an object's streams.
func (s *Store) nodeOf(ctx context.Context, obj kinds.Object) (*corev1.Node, error) {
	if node, ok := obj.(*corev1.Node); ok {
		return node, nil
	}
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return nil, apierrors.NewBadRequest("only pods and nodes can be connected to")
	}
	if pod.Spec.NodeName == "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", pod.Name))
	}
	kind, err := s.kinds.ForObject(&corev1.Node{})
	if err != nil {
		return nil, err
	}
	node, err := s.find(ctx, scope{kind: kind, name: pod.Spec.NodeName}, "0")
	if err != nil {
		return nil, err
	}
	return node.Object().(*corev1.Node), nil
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
