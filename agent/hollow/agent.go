package hollow

import (
	"context"
	"fmt"
	"net/http"
	goruntime "runtime"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"

	"navarch.dev/navarch/agent/guard"
	"navarch.dev/navarch/agent/node"
	"navarch.dev/navarch/agent/objects"
	"navarch.dev/navarch/agent/podcertificate"
	"navarch.dev/navarch/agent/podworker"
	"navarch.dev/navarch/agent/server"
	"navarch.dev/navarch/agent/stats"
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
	server   *server.Server
	https    http.Handler
	recorder *events.Recorder // nil if none is wanted
}

const (
	// parallelStarts is how many sandboxes and containers a node makes at a time.
	parallelStarts = 8
	// waitingEvents and rememberedEvents bound each node's events in memory.
	waitingEvents    = 256
	rememberedEvents = 64
)

// newAgent makes a node's parts over its connection to the Store. What they follow
// ends with ctx.
func (n *hollowNode) newAgent(ctx context.Context, conn Conn) (*agent, error) {
	f, c := n.fleet, client.New(conn, clientName)
	pods, err := client.NewTrimmedInformer(c, client.InformerOptions{
		Fields: fields.OneTermEqualSelector("spec.nodeName", n.name),
	}, func(pod *corev1.Pod) {
		simplify(pod)
		f.parts.Share(pod)
	})
	if err != nil {
		return nil, err
	}
	a := &agent{runtime: newRuntime(&f.cfg, f.counts)}
	images, net := newImages(n.name, &f.cfg, f.counts), newNetwork(n.podCIDRs)
	if a.node, err = node.New(n.nodeConfig(f.leaving(conn)), c, n.log, images.ofNode, n.ready); err != nil {
		return nil, err
	}
	var recorder podworker.Recorder = noEvents{}
	if f.cfg.Events {
		limits := events.Limits{Waiting: waitingEvents, Remembered: rememberedEvents}
		a.recorder = events.NewLimitedRecorder(c, "kubelet", n.name, f.tel, limits)
		recorder = a.recorder
	}
	objs := objects.New(ctx, c)
	certs := podcertificate.New(ctx, podcertificate.Config{NodeName: n.name}, c, recorder, objs.Tell, n.log)
	a.pods = podworker.New(podworker.Config{
		NodeName: n.name, HostIPs: []string{n.address().String()}, MaxPods: f.cfg.MaxPods,
		ParallelStarts: parallelStarts, Allocatable: a.node.Allocatable, LeaveTime: f.cfg.LeaveTime,
	}, podworker.Deps{
		Client: c, Pods: pods, Services: f.services, Runtime: a.runtime, Images: images, Network: net,
		Volumes: volume.NewResolver(c, objs, certs, n.log), Objects: objs, Events: recorder, Log: n.log, Tracer: f.tel.Tracer(),
	})
	usage := stats.New(n.name, a.runtime, machine(a.runtime))
	shown := n.pages(a.pods, usage)
	a.server = server.New(a.pods, a.runtime, images, usage, readNothing, shown, n.log)
	a.https = guard.New(n.name, c, n.log).Protect(shown)
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

// nodeConfig describes the node. otherStore leads it to another Store; nil means
// that there is but one.
func (n *hollowNode) nodeConfig(otherStore func()) node.Config {
	f := n.fleet
	labels := map[string]string{node.LabelHollow: "true"}
	if f.cfg.Zones > 0 {
		labels[corev1.LabelTopologyZone] = fmt.Sprintf("zone-%d", (f.cfg.FirstNode+n.number)%f.cfg.Zones)
	}
	for k, v := range f.cfg.Labels {
		labels[k] = v
	}
	return node.Config{
		Name: n.name, Labels: labels, Taints: f.plan.taints, Port: int32(f.cfg.Service.Port()),
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
		Phase:      f.chance.draw("phase", n.name, strconv.Itoa(n.number)),
		OtherStore: otherStore,
	}
}

// noEvents records nothing.
type noEvents struct{}

// EventAt implements podworker.Recorder.
func (noEvents) EventAt(kinds.Object, string, string, string, string) {}
