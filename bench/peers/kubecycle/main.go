// Command kubecycle measures kube-scheduler's decisions alone: pods are taken
// from its queue, get a node, and are assumed there. Nothing is written or
// watched. See the command bench/cycle, which does the same with Navarch's
// Scheduler and reads and prints the same.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/profile"
)

func main() {
	if err := run(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "kubecycle:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, in io.Reader, out io.Writer) error {
	nodes, pods, err := read(in)
	if err != nil {
		return fmt.Errorf("read the cluster: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := newDecider(ctx, nodes)
	if err != nil {
		return fmt.Errorf("make the scheduler: %w", err)
	}
	runtime.GC()
	cpu, began := processorTime(), time.Now()
	if err := s.place(ctx, pods); err != nil {
		return fmt.Errorf("place pods: %w", err)
	}
	return json.NewEncoder(out).Encode(map[string]float64{
		"seconds": time.Since(began).Seconds(), "processor": (processorTime() - cpu).Seconds(),
	})
}

// decider is a kube-scheduler without what tells it of the cluster.
type decider struct {
	*scheduler.Scheduler
	nodes *cache.Snapshot
}

func newDecider(ctx context.Context, nodes []*corev1.Node) (*decider, error) {
	client := fake.NewClientset()
	factory := informers.NewSharedInformerFactory(client, 0)
	view := cache.NewEmptySnapshot()
	recorders := profile.NewRecorderFactory(events.NewBroadcaster(&events.EventSinkImpl{Interface: client.EventsV1()}))
	s, err := scheduler.New(ctx, client, factory, nil, recorders, scheduler.WithNodeInfoSnapshot(view))
	if err != nil {
		return nil, err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	for _, n := range nodes {
		s.Cache.AddNode(klog.FromContext(ctx), n)
	}
	return &decider{Scheduler: s, nodes: view}, nil
}

// place gives every pod a node, by the steps of the scheduler's own cycle.
func (s *decider) place(ctx context.Context, pods []*corev1.Pod) error {
	for _, p := range pods {
		s.SchedulingQueue.Add(ctx, p)
	}
	for range pods {
		entity, err := s.SchedulingQueue.Pop(klog.FromContext(ctx))
		if err != nil {
			return err
		}
		pod, ok := entity.(*framework.QueuedPodInfo)
		if !ok {
			return fmt.Errorf("the queue holds a %T", entity)
		}
		if err := s.decide(ctx, pod); err != nil {
			return fmt.Errorf("pod %s: %w", pod.Pod.Name, err)
		}
	}
	return nil
}

func (s *decider) decide(ctx context.Context, pod *framework.QueuedPodInfo) error {
	if err := s.Cache.UpdateSnapshot(klog.FromContext(ctx), s.nodes); err != nil {
		return err
	}
	var state fwk.CycleState = framework.NewCycleState()
	result, err := s.SchedulePod(ctx, s.Profiles[corev1.DefaultSchedulerName], state, pod)
	if err != nil {
		return err
	}
	assumed := pod.Pod.DeepCopy()
	assumed.Spec.NodeName = result.SuggestedHost
	if err := s.Cache.AssumePod(klog.FromContext(ctx), assumed); err != nil {
		return err
	}
	s.SchedulingQueue.Done(pod.Pod.UID)
	return nil
}

func read(in io.Reader) (nodes []*corev1.Node, pods []*corev1.Pod, err error) {
	for decoder := json.NewDecoder(bufio.NewReader(in)); ; {
		var raw json.RawMessage
		if err := decoder.Decode(&raw); errors.Is(err, io.EOF) {
			return nodes, pods, nil
		} else if err != nil {
			return nil, nil, err
		}
		var meta metav1.TypeMeta
		if err := json.Unmarshal(raw, &meta); err != nil {
			return nil, nil, err
		}
		var obj any
		switch meta.Kind {
		case "Node":
			nodes = append(nodes, new(corev1.Node))
			obj = nodes[len(nodes)-1]
		case "Pod":
			pods = append(pods, new(corev1.Pod))
			obj = pods[len(pods)-1]
		default:
			return nil, nil, fmt.Errorf("a %q is neither Node nor Pod", meta.Kind)
		}
		if err := json.Unmarshal(raw, obj); err != nil {
			return nil, nil, fmt.Errorf("a %s: %w", meta.Kind, err)
		}
	}
}

func processorTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
