// Package stats reads what a node, its pods and their containers use.
//
//	stats.go    one look at everything
//	rates.go    usage over time, from two looks
//	machine.go  the machine's own figures
package stats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"navarch.dev/navarch/agent/runtime"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// Reader reads the usage of one node. It is safe for concurrent use.
type Reader struct {
	node    string
	runtime runtime.Runtime
	machine Machine

	mu    sync.Mutex // guards looks
	looks []look     // the oldest first
}

// New returns a reader. The machine is what the node's own usage is read from;
// ReadMachine is one.
func New(node string, rt runtime.Runtime, machine Machine) *Reader {
	return &Reader{node: node, runtime: rt, machine: machine}
}

// Read returns the present usage. What ends meanwhile is left out. Nothing is
// measured in between: if there is no earlier look to compare with, Read takes
// one itself and a second one a moment later.
func (r *Reader) Read(ctx context.Context) (*nodev1.StatsResponse, error) {
	resp, cpu, err := r.look(ctx)
	if err != nil {
		return nil, err
	}
	before, complete := r.before(cpu)
	if !complete {
		before = cpu
		select {
		case <-time.After(firstWindow):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if resp, cpu, err = r.look(ctx); err != nil {
			return nil, err
		}
	}
	fillRates(resp, before, cpu)
	r.remember(cpu)
	return resp, nil
}

// look reads everything once.
func (r *Reader) look(ctx context.Context) (*nodev1.StatsResponse, look, error) {
	total, err := r.machine()
	if err != nil {
		return nil, look{}, fmt.Errorf("read the node's usage: %w", err)
	}
	pods, err := r.runtime.NodeUsage(ctx)
	if err != nil {
		return nil, look{}, fmt.Errorf("read the usage of all pods: %w", err)
	}
	total.Pids = pods.Pids
	l := look{at: time.Now(), cpu: map[string]uint64{nodeKey: total.CPUNanoseconds}}
	resp := &nodev1.StatsResponse{NodeName: r.node, Time: timestamppb.New(l.at), Usage: usage(total)}
	sandboxes, err := r.runtime.ListSandboxes(ctx)
	if err != nil {
		return nil, look{}, fmt.Errorf("list the sandboxes: %w", err)
	}
	for _, s := range sandboxes {
		if !s.Ready {
			continue
		}
		pod, err := r.pod(ctx, s, l)
		if errors.Is(err, runtime.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, look{}, err
		}
		resp.Pods = append(resp.Pods, pod)
	}
	return resp, l, nil
}

func (r *Reader) pod(ctx context.Context, s runtime.SandboxStatus, l look) (*nodev1.PodStats, error) {
	u, err := r.runtime.SandboxUsage(ctx, s.Spec.UID)
	if err != nil {
		return nil, fmt.Errorf("read the usage of pod %s/%s: %w", s.Spec.Namespace, s.Spec.Name, err)
	}
	l.cpu[podKey(s.Spec.UID)] = u.CPUNanoseconds
	pod := &nodev1.PodStats{Namespace: s.Spec.Namespace, Name: s.Spec.Name, Uid: s.Spec.UID, Usage: usage(u)}
	containers, err := r.runtime.ListContainers(ctx, s.Spec.UID)
	if err != nil {
		return nil, fmt.Errorf("list the containers of pod %s/%s: %w", s.Spec.Namespace, s.Spec.Name, err)
	}
	for _, c := range containers {
		if c.State != runtime.StateRunning {
			continue
		}
		u, err := r.runtime.ContainerUsage(ctx, c.Spec.ID)
		if errors.Is(err, runtime.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the usage of container %s: %w", c.Spec.Name, err)
		}
		l.cpu[containerKey(s.Spec.UID, c.Spec.Name)] = u.CPUNanoseconds
		pod.Containers = append(pod.Containers, &nodev1.ContainerStats{Name: c.Spec.Name, Usage: usage(u)})
	}
	return pod, nil
}

func usage(u runtime.Usage) *nodev1.Usage {
	return &nodev1.Usage{
		CpuNanoseconds: u.CPUNanoseconds, MemoryWorkingSetBytes: u.MemoryWorkingSetBytes,
		MemoryRssBytes: u.MemoryRSSBytes, Pids: u.Pids, MemoryUsageBytes: u.MemoryBytes, Pressure: pressure(u.Pressure),
	}
}

func pressure(p *runtime.Pressure) *nodev1.Pressure {
	if p == nil {
		return nil
	}
	stall := func(s runtime.Stall) *nodev1.Stall {
		return &nodev1.Stall{Nanoseconds: s.Nanoseconds, Avg10: s.Avg10, Avg60: s.Avg60, Avg300: s.Avg300}
	}
	stalls := func(s runtime.Stalls) *nodev1.Stalls {
		return &nodev1.Stalls{Some: stall(s.Some), Full: stall(s.Full)}
	}
	return &nodev1.Pressure{Cpu: stalls(p.CPU), Memory: stalls(p.Memory), Io: stalls(p.IO)}
}
