package exposition

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/usage"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// patience is how long one agent may take, more than it gives a pod.
const patience = 7 * time.Second

// Agents reads pages through the agents of the pods' nodes: from where the
// controllers run, pods need not be reachable.
type Agents struct {
	agents usage.Dialer
	nodes  *client.Informer[*corev1.Node]
}

// NewAgents returns a reader that connects to the agents of nodes.
func NewAgents(agents usage.Dialer, nodes *client.Informer[*corev1.Node]) *Agents {
	return &Agents{agents: agents, nodes: nodes}
}

// Read returns a page of a pod, and when it had been read.
func (a *Agents) Read(ctx context.Context, pod *corev1.Pod, at Endpoint) (*Page, time.Time, error) {
	node, ok := a.nodes.Get("", pod.Spec.NodeName)
	if !ok {
		return nil, time.Time{}, fmt.Errorf("node %q does not exist", pod.Spec.NodeName)
	}
	// The agent trusts this service, not whoever caused the call.
	ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(ctx, metadata.MD{}), patience)
	defer cancel()
	conn, err := a.agents.Dial(ctx, node.Name, usage.Endpoint(node))
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("connect to the agent of node %s: %w", node.Name, err)
	}
	scheme := nodev1.Scheme_SCHEME_HTTP
	if at.TLS {
		scheme = nodev1.Scheme_SCHEME_HTTPS
	}
	resp, err := nodev1.NewNodeServiceClient(conn).Scrape(ctx, &nodev1.ScrapeRequest{
		Namespace: pod.Namespace, Pod: pod.Name, PodUid: string(pod.UID), Port: at.Port, Path: at.Path, Scheme: scheme,
	})
	if err != nil {
		return nil, time.Time{}, errors.New(status.Convert(err).Message())
	}
	page, err := Parse(resp.GetPage())
	return page, resp.GetTime().AsTime(), err
}
