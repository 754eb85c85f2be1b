package hollow

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
)

// lists are the lists of resources of all pods, each of which is kept once: a
// map takes more memory than what is in it, and pods of one template have the
// same ones.
type lists struct {
	mu    sync.Mutex
	known map[string]corev1.ResourceList
}

// mostLists bounds how many different lists are remembered.
const mostLists = 4096

// one returns a list that is equal to l, the same one for equal lists. It must
// not be changed.
func (k *lists) one(l corev1.ResourceList) corev1.ResourceList {
	if len(l) == 0 {
		return l
	}
	var key strings.Builder
	for _, name := range slices.Sorted(maps.Keys(l)) {
		q := l[name]
		fmt.Fprintf(&key, "%s=%s,", name, q.String())
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if have, ok := k.known[key.String()]; ok {
		return have
	}
	if k.known == nil || len(k.known) >= mostLists {
		k.known = make(map[string]corev1.ResourceList)
	}
	k.known[key.String()] = l
	return l
}

func (k *lists) share(r *corev1.ResourceRequirements) {
	if r != nil {
		r.Requests, r.Limits = k.one(r.Requests), k.one(r.Limits)
	}
}

// simplify leaves out of a pod what a hollow node has no use for, and makes
// probes and hooks that go over the network be commands, which need no network
// to succeed.
func (k *lists) simplify(pod *corev1.Pod) {
	pod.ManagedFields = nil
	spec := &pod.Spec
	spec.Affinity, spec.NodeSelector, spec.Tolerations, spec.TopologySpreadConstraints = nil, nil, nil, nil
	k.share(spec.Resources)
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			k.share(&list[i].Resources)
			simplifyProbes(&list[i])
		}
	}
	s := &pod.Status
	for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses} {
		for i := range list {
			k.share(list[i].Resources)
			list[i].AllocatedResources = k.one(list[i].AllocatedResources)
		}
	}
}

func simplifyProbes(c *corev1.Container) {
	for _, p := range []*corev1.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
		if p != nil {
			p.ProbeHandler = corev1.ProbeHandler{Exec: succeeds}
		}
	}
	if c.Lifecycle == nil {
		return
	}
	for _, h := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
		if h != nil && h.Sleep == nil {
			*h = corev1.LifecycleHandler{Exec: succeeds}
		}
	}
}

// succeeds is a command that a hollow node says has succeeded, as any other.
var succeeds = &corev1.ExecAction{Command: []string{"true"}}
