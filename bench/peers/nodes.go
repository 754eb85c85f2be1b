package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const nodesPath = "/api/v1/nodes"

// zones is how many the nodes are spread over.
const zones = 3

// inParallel does some work for 0 … count-1 by all clients, each on a connection
// of its own.
func (s *server) inParallel(ctx context.Context, count int, work func(ctx context.Context, c *http.Client, n int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := range min(clients, count) {
		c := s.client()
		defer c.CloseIdleConnections()
		g.Go(func() error {
			for n := i; n < count; n += clients {
				if err := work(ctx, c, n); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// makeNodes sees to it that a side has as many nodes. They never grow fewer.
func (s *server) makeNodes(ctx context.Context, count int) error {
	have := s.nodes
	err := s.inParallel(ctx, count-have, func(ctx context.Context, c *http.Client, n int) error {
		return s.makeNode(ctx, c, have+n)
	})
	if err != nil {
		return fmt.Errorf("make nodes: %w", err)
	}
	s.nodes = max(s.nodes, count)
	return nil
}

// makeNode creates a node that is ready. Admission marks it as not ready all the
// same, until a controller sees that it is, which does not run here.
func (s *server) makeNode(ctx context.Context, c *http.Client, n int) error {
	body, err := encode(node(n))
	if err != nil {
		return err
	}
	if _, err := s.do(ctx, c, request{method: http.MethodPost, path: nodesPath, contentType: jsonType, body: body}); err != nil {
		return err
	}
	untaint := request{method: http.MethodPatch, path: nodesPath + "/" + nodeName(n), contentType: mergeType, body: []byte(`{"spec":{"taints":null}}`)}
	_, err = s.do(ctx, c, untaint)
	return err
}

func nodeName(n int) string { return fmt.Sprintf("node-%05d", n) }

// node is as kubelets register them, and as large as those of kube-scheduler's
// own benchmarks.
func node(n int) *corev1.Node {
	offers := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("32Gi"), corev1.ResourcePods: resource.MustParse("110"),
	}
	now := metav1.NewTime(time.Now())
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: nodeName(n), Labels: map[string]string{
			corev1.LabelHostname: nodeName(n), corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
			corev1.LabelTopologyZone: fmt.Sprintf("zone-%d", n%zones), corev1.LabelTopologyRegion: "region",
		}},
		Status: corev1.NodeStatus{
			Capacity: offers, Allocatable: offers,
			Conditions: []corev1.NodeCondition{{
				Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: now, LastTransitionTime: now,
			}},
		},
	}
}
