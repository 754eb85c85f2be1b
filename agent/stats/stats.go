// Package stats reads what a node, its pods and their containers use.
package stats

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"navarch.dev/navarch/agent/runtime"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// Reader reads the usage of one node.
type Reader struct {
	node    string
	runtime runtime.Runtime
}

// New returns a reader.
func New(node string, rt runtime.Runtime) *Reader { return &Reader{node: node, runtime: rt} }

// Read returns the present usage. What ends meanwhile is left out.
func (r *Reader) Read(ctx context.Context) (*nodev1.StatsResponse, error) {
	total, err := r.runtime.NodeUsage(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the node's usage: %w", err)
	}
	resp := &nodev1.StatsResponse{NodeName: r.node, Time: timestamppb.New(time.Now()), Usage: usage(total)}
	sandboxes, err := r.runtime.ListSandboxes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the sandboxes: %w", err)
	}
	for _, s := range sandboxes {
		if !s.Ready {
			continue
		}
		pod, err := r.pod(ctx, s)
		if errors.Is(err, runtime.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		resp.Pods = append(resp.Pods, pod)
	}
	return resp, nil
}

func (r *Reader) pod(ctx context.Context, s runtime.SandboxStatus) (*nodev1.PodStats, error) {
	u, err := r.runtime.SandboxUsage(ctx, s.Spec.UID)
	if err != nil {
		return nil, fmt.Errorf("read the usage of pod %s/%s: %w", s.Spec.Namespace, s.Spec.Name, err)
	}
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
		pod.Containers = append(pod.Containers, &nodev1.ContainerStats{Name: c.Spec.Name, Usage: usage(u)})
	}
	return pod, nil
}

func usage(u runtime.Usage) *nodev1.Usage {
	return &nodev1.Usage{
		CpuNanoseconds: u.CPUNanoseconds, MemoryWorkingSetBytes: u.MemoryWorkingSetBytes,
		MemoryRssBytes: u.MemoryRSSBytes, Pids: u.Pids,
	}
}
