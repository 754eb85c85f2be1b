package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	cycleTarget = 10
	cycleNodes  = 5000
)

// measureCycle compares the schedulers' decisions alone, each in a program of
// its own that no API and no watch is part of.
func measureCycle(ctx context.Context, p *peers) ([]line, error) {
	var lines []line
	for _, kind := range []struct {
		name string
		part int
		pod  func() corev1.PodTemplateSpec
	}{{"pods", 1, plainPod}, {"pods that keep apart", 5, apartPod}, {"pods that spread", 5, spreadPod}} {
		pods := max(p.scale.bound/kind.part, 1)
		input, err := clusterOf(cycleNodes, pods, kind.pod)
		if err != nil {
			return nil, err
		}
		var rate pair
		err = p.turns(ctx, func(ctx context.Context, t turn) error { return t.decide(ctx, input, pods, &rate) })
		if err != nil {
			return nil, err
		}
		lines = append(lines, rate.atLeast(fmt.Sprintf("decisions alone: %d %s, 5,000 nodes", pods, kind.name), perSecond, cycleTarget))
	}
	return lines, nil
}

// clusterOf is the programs' input.
func clusterOf(nodes, pods int, template func() corev1.PodTemplateSpec) ([]byte, error) {
	var out bytes.Buffer
	for n := range nodes {
		body, err := encode(node(n))
		if err != nil {
			return nil, err
		}
		out.Write(body)
	}
	for _, obj := range manyPods(template)(pods) {
		pod := obj.(*corev1.Pod)
		// What an API server would fill in.
		pod.Namespace, pod.UID = boundNamespace, types.UID(pod.Name)
		pod.Spec.SchedulerName = corev1.DefaultSchedulerName
		body, err := encode(pod)
		if err != nil {
			return nil, err
		}
		out.Write(body)
	}
	return out.Bytes(), nil
}

func (t turn) decide(ctx context.Context, input []byte, pods int, rate *pair) error {
	program := "peers/cycle"
	if t.server == t.peers.kube {
		program = "peers/kubecycle"
	}
	cmd := t.peers.command(ctx, program)
	cmd.Stdin = bytes.NewReader(input)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("run %s: %w: %s", program, err, said.Bytes())
	}
	var took struct{ Seconds, Processor float64 }
	if err := json.Unmarshal(out, &took); err != nil {
		return fmt.Errorf("read what %s prints: %w", program, err)
	}
	rate.add(t, float64(pods)/took.Seconds)
	rate.addSpent(t, spent{server: time.Duration(took.Processor * float64(time.Second))}, pods)
	return nil
}
