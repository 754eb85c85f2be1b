package hollow

import corev1 "k8s.io/api/core/v1"

// simplify leaves out of a pod what a hollow node has no use for, and makes
// probes and hooks that go over the network be commands, which need no network
// to succeed.
func simplify(pod *corev1.Pod) {
	pod.ManagedFields = nil
	spec := &pod.Spec
	spec.Affinity, spec.NodeSelector, spec.Tolerations, spec.TopologySpreadConstraints = nil, nil, nil, nil
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			simplifyProbes(&list[i])
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
