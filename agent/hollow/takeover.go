package hollow

import (
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/podworker"
	"navarch.dev/navarch/agent/runtime"
)

// takeOver makes the sandboxes and containers, and gives out the addresses,
// that pods have by what the Store says of them: there is nothing else that
// outlives a process of hollow nodes. What was being made when the last one
// ended is made anew.
func takeOver(pods []*corev1.Pod, rt *hollowRuntime, net *hollowNetwork, images *hollowImages) {
	for _, pod := range pods {
		if pod.Status.StartTime == nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		found := containersOf(pod)
		if len(found) == 0 {
			continue
		}
		if !pod.Spec.HostNetwork {
			net.reserve(string(pod.UID), addressesOf(pod))
		}
		rt.adopt(pod, found)
		for _, c := range found {
			if image := c.annotations[podworker.AnnotationImage]; image != "" {
				images.add(image)
			}
		}
	}
}

func addressesOf(pod *corev1.Pod) []netip.Addr {
	var ips []netip.Addr
	for _, p := range pod.Status.PodIPs {
		if ip, err := netip.ParseAddr(p.IP); err == nil {
			ips = append(ips, ip)
		}
	}
	return ips
}

// containersOf returns the containers that a pod's status tells of.
func containersOf(pod *corev1.Pod) []*container {
	var all []*container
	s := &pod.Status
	for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range list {
			if c := containerOf(&list[i]); c != nil {
				all = append(all, c)
			}
		}
	}
	return all
}

// containerOf returns the newest attempt of a container, nil if there has been
// none.
func containerOf(cs *corev1.ContainerStatus) *container {
	c := &container{
		name: strings.Clone(cs.Name), imageID: strings.Clone(cs.ImageID), attempt: uint32(max(cs.RestartCount, 0)), ended: make(chan struct{}),
		annotations: map[string]string{podworker.AnnotationImage: strings.Clone(cs.Image)},
	}
	ended := cs.State.Terminated
	if cs.State.Waiting != nil {
		ended = cs.LastTerminationState.Terminated
	}
	switch {
	case cs.State.Running != nil:
		c.id, c.state, c.startedAt = idOf(cs.ContainerID), runtime.StateRunning, cs.State.Running.StartedAt.Time
	case ended != nil:
		c.id, c.state, c.startedAt, c.finishedAt = idOf(ended.ContainerID), runtime.StateExited, ended.StartedAt.Time, ended.FinishedAt.Time
		c.exitCode, c.reason, c.message = int(ended.ExitCode), strings.Clone(ended.Reason), strings.Clone(ended.Message)
		close(c.ended)
	}
	if c.id == "" {
		return nil
	}
	c.createdAt = c.startedAt
	return c
}

// idOf takes the runtime's name off a container's ID.
func idOf(containerID string) string {
	_, id, _ := strings.Cut(containerID, "://")
	return strings.Clone(id)
}

// adopt puts a pod's sandbox and containers in.
func (r *hollowRuntime) adopt(pod *corev1.Pod, found []*container) {
	r.mu.Lock()
	defer r.mu.Unlock()
	whole, given := podworker.GivenResources(pod)
	s := &sandbox{
		uid: string(pod.UID), namespace: pod.Namespace, name: pod.Name, resources: whole,
		ready: true, createdAt: time.Now(),
	}
	r.sandboxes[s.uid] = s
	for _, c := range found {
		c.sandbox, c.resources = s, given[c.name]
		r.add(c)
		if c.state == runtime.StateRunning {
			r.run(c)
		}
	}
}
