package localcluster

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/rpc"
	"navarch.dev/navarch/internal/telemetry"
)

// waitReady returns once the cluster can be used: every agent and proxy of this
// run says that it is ready, every Node is Ready to the Store, and the gateway
// answers. What the Store holds would not do by itself: it may be from the last
// run.
func (c *Cluster) waitReady(ctx context.Context) error {
	bundle, err := certs.LoadBundleDir(c.layout.PKI(), adminCert)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, n := range c.nodes {
		group.Go(func() error {
			return waitServing(ctx, bundle, n.endpoint(c.state.AgentPort), certs.NodeServerName(n.name))
		})
		group.Go(func() error {
			return waitServing(ctx, bundle, n.endpoint(c.state.ProxyPort), certs.ServerName("proxy"))
		})
	}
	group.Go(func() error { return waitGateway(ctx, bundle, c.state.gatewayAddress()) })
	group.Go(func() error { return c.waitNodes(ctx, bundle) })
	return group.Wait()
}

func (n node) endpoint(port int) string {
	return netip.AddrPortFrom(n.address, uint16(port)).String()
}

// waitServing returns once the health of the server at an address is SERVING.
func waitServing(ctx context.Context, bundle *certs.Bundle, address, serverName string) error {
	conn, err := rpc.Dial(telemetry.Discard("up"), address, bundle.Client(serverName))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	for ctx.Err() == nil {
		// A broken watch begins anew: the connection itself waits longer and
		// longer between attempts.
		if watchHealth(ctx, conn) {
			return nil
		}
	}
	return fmt.Errorf("wait for %s to be ready: %w", address, ctx.Err())
}

// watchHealth follows a server's health and says whether it came to SERVING
// before the watch ended.
func watchHealth(ctx context.Context, conn grpc.ClientConnInterface) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch, err := healthv1.NewHealthClient(conn).Watch(ctx, &healthv1.HealthCheckRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return false
	}
	for {
		resp, err := watch.Recv()
		if err != nil {
			return false
		}
		if resp.GetStatus() == healthv1.HealthCheckResponse_SERVING {
			return true
		}
	}
}

// gatewayStep is how often a gateway that is starting is asked whether it is
// ready.
const gatewayStep = 50 * time.Millisecond

// waitGateway returns once the gateway says that it is ready.
func waitGateway(ctx context.Context, bundle *certs.Bundle, address string) error {
	transport := &http.Transport{
		TLSClientConfig: bundle.Client(certs.ServerName("gateway")),
		DialContext:     (&net.Dialer{Timeout: time.Second}).DialContext,
	}
	defer transport.CloseIdleConnections()
	tick := time.NewTicker(gatewayStep)
	defer tick.Stop()
	for {
		if isServing(ctx, &http.Client{Transport: transport, Timeout: time.Second}, "https://"+address+"/readyz") {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for the gateway to be ready: %w", ctx.Err())
		}
	}
}

func isServing(ctx context.Context, client *http.Client, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// waitNodes returns once every node of the cluster is Ready to the Store.
func (c *Cluster) waitNodes(ctx context.Context, bundle *certs.Bundle) error {
	conn, err := rpc.Dial(telemetry.Discard("up"), net.JoinHostPort("127.0.0.1", strconv.Itoa(c.state.StorePort)), bundle.Client(certs.ServerName("store")))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	nodes, err := client.NewInformer[*corev1.Node](client.New(conn, "navarch-up"), client.InformerOptions{})
	if err != nil {
		return err
	}
	changed := make(chan struct{}, 1)
	note := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	nodes.AddHandler(client.Handler[*corev1.Node]{
		OnAdd:    func(*corev1.Node) { note() },
		OnUpdate: func(_, _ *corev1.Node) { note() },
	})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go nodes.Run(ctx)
	for {
		if allReady(nodes, c.nodes) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for the nodes to become Ready: %w", ctx.Err())
		}
	}
}

func allReady(informer *client.Informer[*corev1.Node], nodes []node) bool {
	for _, n := range nodes {
		object, ok := informer.Get("", n.name)
		if !ok || !isReady(object) {
			return false
		}
	}
	return true
}

func isReady(n *corev1.Node) bool {
	for _, t := range n.Spec.Taints {
		if t.Key == corev1.TaintNodeNotReady {
			return false // the controller has yet to open it for pods
		}
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
