package podconn

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"google.golang.org/grpc"

	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// endpointTimeout is the longest wait for an endpoint that is no pod.
const endpointTimeout = 30 * time.Second

// AgentDialer connects to the Node service of an agent.
type AgentDialer interface {
	// Dial returns a connection to the agent of node at endpoint (host:port),
	// new or kept.
	Dial(ctx context.Context, node, endpoint string) (grpc.ClientConnInterface, error)
}

// DialLocated connects to the endpoint of a Service that a Store has located:
// through the agent of its node if it is a pod, from here if not.
func DialLocated(ctx context.Context, agents AgentDialer, namespace string, at *storev1.LocateResponse) (net.Conn, error) {
	if at.GetPod() == "" {
		ctx, cancel := context.WithTimeout(ctx, endpointTimeout)
		defer cancel()
		return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(at.GetTargetAddress(), strconv.Itoa(int(at.GetTargetPort()))))
	}
	agent, err := agents.Dial(ctx, at.GetNodeName(), at.GetNodeEndpoint())
	if err != nil {
		return nil, fmt.Errorf("connect to node %s: %w", at.GetNodeName(), err)
	}
	return Dial(ctx, nodev1.NewNodeServiceClient(agent), &nodev1.PortForwardStart{
		Namespace: namespace, Pod: at.GetPod(), Port: uint32(at.GetTargetPort()), Address: at.GetTargetAddress(),
	}), nil
}
