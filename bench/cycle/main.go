// Command cycle measures the Scheduler's decisions alone: pods are taken from
// its queue, get a node, and are assumed there. Nothing is written or watched.
//
// It reads a cluster from standard input, a JSON object on each line: Nodes,
// then the Pods that are to get one. It prints what placing all of them took
// as JSON: seconds, and seconds of processor time. Package bench/peers gives
// the same input to kube-scheduler.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/placement"
	"navarch.dev/navarch/services/scheduler/plugins"
	"navarch.dev/navarch/services/scheduler/queue"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

func main() {
	if err := run(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "cycle:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, in io.Reader, out io.Writer) error {
	nodes, pods, err := read(in)
	if err != nil {
		return fmt.Errorf("read the cluster: %w", err)
	}
	s, err := newScheduler(nodes)
	if err != nil {
		return fmt.Errorf("make the scheduler: %w", err)
	}
	defer s.queue.Close()
	runtime.GC()
	cpu, began := processorTime(), time.Now()
	if err := s.place(ctx, pods); err != nil {
		return fmt.Errorf("place pods: %w", err)
	}
	return json.NewEncoder(out).Encode(map[string]float64{
		"seconds": time.Since(began).Seconds(), "processor": (processorTime() - cpu).Seconds(),
	})
}

// scheduler is what decides, without what tells it of the cluster.
type scheduler struct {
	profile *framework.Profile
	cache   *snapshot.Cache
	queue   *queue.Queue
	placer  *placement.Placer
}

func newScheduler(nodes []*corev1.Node) (*scheduler, error) {
	env := plugins.Environment{
		Namespaces: func(string) labels.Set { return nil },
		Groups:     func(*corev1.Pod) labels.Selector { return labels.NewSelector() },
	}
	registry := plugins.Registry()
	var all []framework.Weighted
	for _, e := range plugins.Defaults() {
		p, err := registry[e.Name].New(env)
		if err != nil {
			return nil, err
		}
		all = append(all, framework.Weighted{Plugin: p, Weight: e.Weight})
	}
	profile, err := framework.NewProfile(framework.Settings{SchedulerName: corev1.DefaultSchedulerName, Plugins: framework.Everywhere(all...)})
	if err != nil {
		return nil, err
	}
	profiles, err := framework.NewProfiles(profile)
	if err != nil {
		return nil, err
	}
	cache := snapshot.NewCache(time.Hour, slog.New(slog.DiscardHandler))
	for _, n := range nodes {
		cache.SetNode(n)
	}
	return &scheduler{
		profile: profile, cache: cache,
		queue:  queue.New(queue.Config{InitialBackoff: time.Second, MaxBackoff: time.Second, StuckAfter: time.Hour}, profiles),
		placer: placement.New(placement.Config{Parallelism: runtime.GOMAXPROCS(0)}, cache, nominations{}),
	}, nil
}

// place gives every pod a node.
func (s *scheduler) place(ctx context.Context, pods []*corev1.Pod) error {
	for _, p := range pods {
		s.queue.Add(snapshot.NewPodInfo(p))
	}
	for range pods {
		pod, _ := s.queue.Pop(ctx)
		result, err := s.placer.Place(ctx, s.profile, pod.PodInfo)
		switch {
		case err != nil:
			return err
		case result.Node == "":
			return errors.New(result.Diagnosis.Message())
		}
		if err := s.cache.Assume(pod.PodInfo, result.Node); err != nil {
			return err
		}
		s.queue.Done(pod.Pod.UID)
	}
	return nil
}

// nominations are none: no pod makes room here.
type nominations struct{}

func (nominations) On(string, *snapshot.PodInfo) []*snapshot.PodInfo { return nil }
func (nominations) Any() bool                                        { return false }

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
