package simulation_test

import (
	"context"
	"fmt"
	"time"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	corev1 "k8s.io/api/core/v1"

	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// agents is how the nodes' agents are reached, which tell what the pods use.
type agents struct {
	nodes func() *nodes
	seed  uint64
}

func (a agents) Dial(_ context.Context, node, _ string) (grpc.ClientConnInterface, error) {
	channel := &inprocgrpc.Channel{}
	nodev1.RegisterNodeServiceServer(channel, &agent{nodes: a.nodes(), name: node})
	return late(channel, a.seed), nil
}

// agent is the agent of one node. Unless it is down it tells what its pods use:
// those of the elastic Deployment share the load.
type agent struct {
	nodev1.UnimplementedNodeServiceServer
	nodes *nodes
	name  string
}

// statsWindow is the time over which usage is told.
const statsWindow = 10 * time.Second

func (a *agent) Stats(context.Context, *nodev1.StatsRequest) (*nodev1.StatsResponse, error) {
	if !a.nodes.isUp(a.name) {
		return nil, status.Error(codes.Unavailable, fmt.Sprintf("%s is down", a.name))
	}
	var own []*corev1.Pod
	working := int64(0)
	for _, pod := range a.nodes.pods.List() {
		if pod.Labels["app"] != elastic || !isReady(pod) || !isActive(pod) {
			continue
		}
		working++
		if pod.Spec.NodeName == a.name {
			own = append(own, pod)
		}
	}
	out := &nodev1.StatsResponse{NodeName: a.name, Time: timestamppb.Now()}
	for _, pod := range own {
		out.Pods = append(out.Pods, &nodev1.PodStats{Namespace: pod.Namespace, Name: pod.Name, Uid: string(pod.UID), Containers: []*nodev1.ContainerStats{{
			Name: pod.Spec.Containers[0].Name, Usage: &nodev1.Usage{
				CpuNanocores: uint64(a.nodes.loadNow() * 1e6 / working), Window: durationpb.New(statsWindow),
			},
		}}})
	}
	return out, nil
}

// setLoad sets what the pods of the elastic Deployment use together, in
// thousandths of a CPU.
func (n *nodes) setLoad(load int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.load = load
}

func (n *nodes) loadNow() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.load
}
