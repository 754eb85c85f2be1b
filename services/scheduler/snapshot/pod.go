package snapshot

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"
)

// PodInfo is a pod and what the scheduler has worked out about it, once per
// version. It is immutable.
type PodInfo struct {
	Pod *corev1.Pod
	// Requests is what the pod needs of a node: the larger of its init
	// containers and the sum of its containers and sidecars, and its overhead.
	Requests Resources
	// Wanted are the resources of which Requests has any.
	Wanted []corev1.ResourceName
	// Load is Requests with a modest figure for containers that ask for
	// nothing; nodes are compared by it.
	Load Resources
	// Ports are the host ports it binds.
	Ports []HostPort
	// Affinity and AntiAffinity are its terms about other pods.
	Affinity, AntiAffinity PodTerms

	// template is nil if the pod is placed, when nobody asks.
	template *template
}

// NewPodInfo works a pod out.
func NewPodInfo(pod *corev1.Pod) *PodInfo {
	resizable := resource.PodResourcesOptions{
		UseStatusResources: pod.Spec.NodeName != "", InPlacePodLevelResourcesVerticalScalingEnabled: true,
	}
	p := &PodInfo{Pod: pod, Requests: NewResources(resource.PodRequests(pod, resizable)), Ports: hostPorts(pod), template: newTemplate(pod)}
	p.Load, p.Wanted = p.Requests, p.Requests.names()
	if !asksForAll(&pod.Spec) {
		withDefaults := resizable
		withDefaults.NonMissingContainerRequests = nonMissing()
		p.Load = NewResources(resource.PodRequests(pod, withDefaults))
	}
	if a := pod.Spec.Affinity; a != nil {
		if a.PodAffinity != nil {
			p.Affinity = newPodTerms(pod, a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution,
				a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
		}
		if a.PodAntiAffinity != nil {
			p.AntiAffinity = newPodTerms(pod, a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution,
				a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
		}
	}
	return p
}

// asksForAll says whether every container asks for what is assumed of those that
// ask for nothing.
func asksForAll(spec *corev1.PodSpec) bool {
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			_, cpu := list[i].Resources.Requests[corev1.ResourceCPU]
			_, memory := list[i].Resources.Requests[corev1.ResourceMemory]
			if !cpu || !memory {
				return false
			}
		}
	}
	return true
}

// Renewed works a newer version of the pod out. Nothing is worked out where the
// two have all that counts in common, as the versions before and after a binding
// have in the copy of an informer.
func (p *PodInfo) Renewed(pod *corev1.Pod) *PodInfo {
	if p.covers(pod) {
		return p.as(pod)
	}
	return NewPodInfo(pod)
}

// covers says whether the pod has all that counts in common with another.
func (p *PodInfo) covers(pod *corev1.Pod) bool {
	return sharesDemand(p.Pod, pod) && !asksByStatus(p.Pod) && !asksByStatus(pod)
}

// as returns the info of a pod that p covers.
func (p *PodInfo) as(pod *corev1.Pod) *PodInfo {
	out := *p
	out.Pod = pod
	if !sharesTemplate(p.Pod, pod) {
		out.template = newTemplate(pod)
	}
	return &out
}

// asksByStatus says whether the status may have a say in what a pod asks for.
func asksByStatus(pod *corev1.Pod) bool {
	s := &pod.Status
	return len(s.InitContainerStatuses)+len(s.ContainerStatuses)+len(s.AllocatedResources)+len(s.NodeAllocatableResourceClaimStatuses) > 0 ||
		s.Resources != nil || resource.IsPodResizeInfeasible(pod)
}

// sharesDemand says whether two pods have in common, and not just alike, what
// their infos are worked out from.
func sharesDemand(a, b *corev1.Pod) bool {
	return shared(a.Spec.Containers, b.Spec.Containers) && a.Namespace == b.Namespace && maps.Equal(a.Labels, b.Labels) &&
		shared(a.Spec.InitContainers, b.Spec.InitContainers) &&
		a.Spec.Affinity == b.Spec.Affinity && a.Spec.Resources == b.Spec.Resources && a.Spec.HostNetwork == b.Spec.HostNetwork &&
		len(a.Spec.Overhead)+len(b.Spec.Overhead) == 0
}

// shared says whether two lists are one in memory.
func shared[T any](a, b []T) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }

// Key is "namespace/name".
func (p *PodInfo) Key() string { return p.Pod.Namespace + "/" + p.Pod.Name }

// Priority is the pod's; 0 if it has none.
func (p *PodInfo) Priority() int32 {
	if p.Pod.Spec.Priority == nil {
		return 0
	}
	return *p.Pod.Spec.Priority
}

// hasPreferences says whether the pod's terms rank nodes for others.
func (p *PodInfo) hasPreferences() bool {
	return !p.Affinity.empty() || len(p.AntiAffinity.Preferred) > 0
}

func reduceContainers(cs []corev1.Container) []corev1.Container {
	out := make([]corev1.Container, len(cs))
	for i := range cs {
		out[i] = corev1.Container{
			Image: cs[i].Image, Ports: cs[i].Ports, Resources: cs[i].Resources, RestartPolicy: cs[i].RestartPolicy,
		}
	}
	return out
}

// imageVolumes returns the volumes that are images, which nodes may have
// already. What else is in volumes bears on placement through claims alone,
// which are not of the pod.
func imageVolumes(volumes []corev1.Volume) []corev1.Volume {
	var out []corev1.Volume
	for i := range volumes {
		if volumes[i].Image != nil {
			out = append(out, corev1.Volume{VolumeSource: corev1.VolumeSource{Image: volumes[i].Image}})
		}
	}
	return out
}

// HostPort is a port of the node that a container binds.
type HostPort struct {
	// IP is "0.0.0.0" for every address.
	IP       string
	Protocol corev1.Protocol
	Port     int32
}

const anyIP = "0.0.0.0"

// Conflicts says whether both cannot be bound on one node.
func (h HostPort) Conflicts(o HostPort) bool {
	return h.Port == o.Port && h.Protocol == o.Protocol && (h.IP == o.IP || h.IP == anyIP || o.IP == anyIP)
}

func hostPorts(pod *corev1.Pod) []HostPort {
	var out []HostPort
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.HostPort <= 0 {
				continue
			}
			h := HostPort{IP: p.HostIP, Protocol: p.Protocol, Port: p.HostPort}
			if h.IP == "" || h.IP == "::" {
				h.IP = anyIP
			}
			if h.Protocol == "" {
				h.Protocol = corev1.ProtocolTCP
			}
			out = append(out, h)
		}
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	return out
}
