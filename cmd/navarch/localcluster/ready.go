package localcluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/rpc"
	"navarch.dev/navarch/internal/telemetry"
)

// waitReady returns once every node of the cluster is Ready.
func (c *Cluster) waitReady(ctx context.Context) error {
	bundle, err := certs.LoadBundleDir(c.layout.PKI(), adminCert)
	if err != nil {
		return err
	}
	tel := telemetry.Discard("up")
	conn, err := rpc.Dial(tel, c.storeEndpoint(), bundle.Client(certs.ServerName("store")))
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
