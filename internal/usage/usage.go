// Package usage asks agents what their nodes and pods use, and tells it in the
// words of the Kubernetes API group metrics.k8s.io. Nobody asks unless somebody
// wants to know: there is no collector that polls.
package usage

import (
	"context"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	corev1 "k8s.io/api/core/v1"

	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

const (
	// patience is how long one agent may take.
	patience = 5 * time.Second
	// parallel is how many agents are asked at once.
	parallel = 64
)

// Dialer connects to the Node service of an agent.
type Dialer interface {
	// Dial returns a connection to the agent of node at endpoint (host:port),
	// new or kept.
	Dial(ctx context.Context, node, endpoint string) (grpc.ClientConnInterface, error)
}

// Source asks agents. It is safe for concurrent use.
type Source struct {
	agents Dialer
	maxAge time.Duration
	log    *slog.Logger

	mu      sync.Mutex // guards answers
	answers map[string]answer
}

type answer struct {
	at    time.Time
	stats *nodev1.StatsResponse
}

// New returns a source whose answers are at most maxAge old.
func New(agents Dialer, maxAge time.Duration, log *slog.Logger) *Source {
	return &Source{agents: agents, maxAge: maxAge, log: log, answers: make(map[string]answer)}
}

// Ask returns what the agents of nodes say, by the node's name. Those that do
// not answer are left out.
func (s *Source) Ask(ctx context.Context, nodes []*corev1.Node) map[string]*nodev1.StatsResponse {
	var mu sync.Mutex
	all := make(map[string]*nodev1.StatsResponse)
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for _, node := range nodes {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			stats, err := s.ask(ctx, node)
			if err != nil {
				s.log.DebugContext(ctx, "agent does not tell its usage", "node", node.Name, "error", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			all[node.Name] = stats
		})
	}
	wg.Wait()
	return all
}

func (s *Source) ask(ctx context.Context, node *corev1.Node) (*nodev1.StatsResponse, error) {
	if stats, ok := s.remembered(node.Name); ok {
		return stats, nil
	}
	// The agent trusts this service, not the user whom it acts for.
	ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(ctx, metadata.MD{}), patience)
	defer cancel()
	conn, err := s.agents.Dial(ctx, node.Name, Endpoint(node))
	if err != nil {
		return nil, err
	}
	stats, err := nodev1.NewNodeServiceClient(conn).Stats(ctx, &nodev1.StatsRequest{})
	if err != nil {
		return nil, err
	}
	s.remember(node.Name, stats)
	return stats, nil
}

func (s *Source) remembered(node string) (*nodev1.StatsResponse, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.answers[node]
	return a.stats, ok && time.Since(a.at) < s.maxAge
}

func (s *Source) remember(node string, stats *nodev1.StatsResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, a := range s.answers {
		if time.Since(a.at) >= s.maxAge {
			delete(s.answers, name)
		}
	}
	s.answers[node] = answer{time.Now(), stats}
}

// Endpoint returns where a node's agent serves; empty if it has not said.
func Endpoint(node *corev1.Node) string {
	port := node.Status.DaemonEndpoints.KubeletEndpoint.Port
	for _, t := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP, corev1.NodeHostName} {
		for _, a := range node.Status.Addresses {
			if a.Type == t && port > 0 {
				return net.JoinHostPort(a.Address, strconv.Itoa(int(port)))
			}
		}
	}
	return ""
}
