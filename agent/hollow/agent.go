package hollow

import (
	"context"
	"fmt"
	goruntime "runtime"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"

	"navarch.dev/navarch/agent/node"
	"navarch.dev/navarch/agent/objects"
	"navarch.dev/navarch/agent/podworker"
	"navarch.dev/navarch/agent/volume"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/client/events"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/version"
)

// agent is what runs in one life of a node: an agent's own parts over a
// runtime, images and a network that are hollow.
type agent struct {
	node     *node.Node
	pods     *podworker.Manager
	runtime  *hollowRuntime
	recorder *events.Recorder // nil if none is wanted
}

const (
	// parallelStarts is how many sandboxes and containers a node makes at a time.
	parallelStarts = 8
	// waitingEvents and rememberedEvents bound each node's events in memory.
	waitingEvents    = 64
	rememberedEvents = 128
)

// newAgent makes a node's parts. What they follow ends with ctx.
func (n *hollowNode) newAgent(ctx context.Context, c *client.Client) (*agent, error) {
	f := n.fleet
	pods, err := client.NewTrimmedInformer(c, client.InformerOptions{
		Fields: fields.OneTermEqualSelector("spec.nodeName", n.name),
	}, simplify)
	if err != nil {
		return nil, err
	}
	a := &agent{runtime: newRuntime(&f.cfg, f.counts)}
	images, net := newImages(n.name, &f.cfg, f.counts), newNetwork(n.podCIDRs)
	if a.node, err = node.New(n.nodeConfig(), c, n.log, images.ofNode, n.ready); err != nil {
		return nil, err
	}
	var recorder podworker.Recorder = noEvents{}
	if f.cfg.Events {
		limits := events.Limits{Waiting: waitingEvents, Remembered: rememberedEvents}
		a.recorder = events.NewLimitedRecorder(c, "kubelet", n.name, f.tel, limits)
		recorder = a.recorder
	}
	objs := objects.New(ctx, c)
	a.pods = podworker.New(podworker.Config{
		NodeName: n.name, HostIPs: []string{n.address().String()}, MaxPods: f.cfg.MaxPods,
		ParallelStarts: parallelStarts, Allocatable: a.node.Allocatable,
	}, podworker.Deps{
		Client: c, Pods: pods, Services: f.services, Runtime: a.runtime, Images: images, Network: net,
		Volumes: volume.NewResolver(c, objs, n.log), Objects: objs, Events: recorder, Log: n.log, Tracer: f.tel.Tracer(),
	})
	a.runtime.pod, a.runtime.onEvent = pods.Get, a.pods.RuntimeEvent
	a.runtime.takeOver = func(rt *hollowRuntime) { takeOver(pods.List(), rt, net, images) }
	return a, nil
}

// run runs the parts until ctx ends or one of them fails.
func (a *agent) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	parts := []func(context.Context) error{a.node.Run, a.pods.Run}
	if a.recorder != nil {
		parts = append(parts, func(ctx context.Context) error { a.recorder.Run(ctx); return nil })
	}
	for _, part := range parts {
		wg.Go(func() {
			if err := part(ctx); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// nodeConfig describes the node.
func (n *hollowNode) nodeConfig() node.Config {
	f := n.fleet
	labels := map[string]string{Label: "true"}
	if f.cfg.Zones > 0 {
		labels[corev1.LabelTopologyZone] = fmt.Sprintf("zone-%d", (f.cfg.FirstNode+n.number)%f.cfg.Zones)
	}
	for k, v := range f.cfg.Labels {
		labels[k] = v
	}
	return node.Config{
		Name: n.name, Labels: labels, Taints: f.plan.taints,
		Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: n.address().String()},
			{Type: corev1.NodeHostName, Address: n.name},
		},
		Machine: &node.Machine{
			Info: corev1.NodeSystemInfo{
				MachineID: n.name, SystemUUID: n.name, BootID: n.name, KernelVersion: "hollow", OSImage: "hollow",
				ContainerRuntimeVersion: "hollow://" + version.Navarch(), KubeletVersion: version.Server,
				OperatingSystem: "linux", Architecture: goruntime.GOARCH,
			},
			Capacity: f.plan.capacity, Allocatable: f.plan.capacity,
		},
		Phase: f.chance.draw("phase", n.name, strconv.Itoa(n.number)),
	}
}

// simplify leaves out of a pod what a hollow node has no use for, and makes
// probes and hooks that go over the network be commands, which need no network
// to succeed.
func simplify(pod *corev1.Pod) {
	pod.ManagedFields = nil
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			c := &list[i]
			for _, p := range []*corev1.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
				if p != nil {
					p.ProbeHandler = corev1.ProbeHandler{Exec: succeeds}
				}
			}
			if c.Lifecycle == nil {
				continue
			}
			for _, h := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
				if h != nil && h.Sleep == nil {
					*h = corev1.LifecycleHandler{Exec: succeeds}
				}
			}
		}
	}
}

// succeeds is a command that a hollow node says has succeeded, as any other.
var succeeds = &corev1.ExecAction{Command: []string{"true"}}

// noEvents records nothing.
type noEvents struct{}

// EventAt implements podworker.Recorder.
func (noEvents) EventAt(kinds.Object, string, string, string, string) {}
