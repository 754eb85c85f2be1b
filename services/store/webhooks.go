package store

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc"

	"navarch.dev/navarch/internal/podconn"
)

// AgentDialer connects to the Node service of an agent.
type AgentDialer interface {
	// Dial returns a connection to the agent of node at endpoint (host:port),
	// new or kept.
	Dial(ctx context.Context, node, endpoint string) (grpc.ClientConnInterface, error)
}

// serviceDialer connects to Services for those who run in the Store, where
// cluster IPs may lead nowhere: to pods through the agents of their nodes.
type serviceDialer struct{ store *Store }

// DialService implements webhook.ServiceDialer.
func (d serviceDialer) DialService(ctx context.Context, namespace, name string, port int32) (net.Conn, error) {
	found, err := d.store.locate(ctx, namespace, name, port)
	if err != nil {
		return nil, err
	}
	if found.GetPod() != "" && d.store.cfg.Agents == nil {
		return nil, errors.New("this Store does not connect to agents")
	}
	return podconn.DialLocated(ctx, d.store.cfg.Agents, namespace, found)
}
