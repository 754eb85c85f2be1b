package interning

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// message is a pointer to a part that has an encoding.
type message[T any] interface {
	*T
	Size() int
	MarshalToSizedBuffer(to []byte) (int, error)
}

// addMessage adds a part's encoding to the key. It fails only for what cannot
// be encoded, which has not been decoded either.
func addMessage[T any, M message[T]](p *Pool, part M) bool {
	size := part.Size()
	p.scratch = binary.AppendUvarint(p.scratch, uint64(size))
	begin := len(p.scratch)
	p.scratch = slices.Grow(p.scratch, size)[:begin+size]
	_, err := part.MarshalToSizedBuffer(p.scratch[begin:])
	return err == nil
}

// list makes equal lists one.
func list[T any, M message[T]](p *Pool, parts []T) []T {
	if len(parts) == 0 {
		return parts
	}
	p.scratch = p.scratch[:0]
	for i := range parts {
		if !addMessage[T, M](p, &parts[i]) {
			return parts
		}
	}
	return known(p, parts)
}

// one makes equal parts one.
func one[T any, M message[T]](p *Pool, part M) M {
	if part == nil {
		return nil
	}
	p.scratch = p.scratch[:0]
	if !addMessage[T, M](p, part) {
		return part
	}
	return known(p, part)
}

// value makes equal numbers and words behind pointers one.
func value[T comparable](p *Pool, part *T) *T {
	if part == nil {
		return nil
	}
	p.scratch = fmt.Appendf(p.scratch[:0], "%T %v", part, *part)
	return known(p, part)
}

// texts makes equal maps one.
func (p *Pool) texts(m map[string]string) map[string]string {
	if len(m) == 0 {
		return m
	}
	p.scratch = p.scratch[:0]
	for _, key := range slices.Sorted(maps.Keys(m)) {
		p.add(key)
		p.add(m[key])
	}
	return known(p, m)
}

// words makes equal lists of strings one.
func (p *Pool) words(words []string) []string {
	if len(words) == 0 {
		return words
	}
	p.scratch = p.scratch[:0]
	for _, word := range words {
		p.add(word)
	}
	return known(p, words)
}

// resources makes equal lists of resources one: a map takes many times the
// memory of the two numbers that are usually in it.
func (p *Pool) resources(l corev1.ResourceList) corev1.ResourceList {
	if len(l) == 0 {
		return l
	}
	p.scratch = p.scratch[:0]
	for _, name := range slices.Sorted(maps.Keys(l)) {
		q := l[name]
		p.add(string(name))
		p.add(q.String())
	}
	return known(p, l)
}

func (p *Pool) podSpec(s *corev1.PodSpec) {
	for _, field := range []*string{&s.NodeName, &s.ServiceAccountName, &s.DeprecatedServiceAccount, &s.SchedulerName, &s.PriorityClassName, &s.Subdomain} {
		text(field)
	}
	text(&s.RestartPolicy)
	text(&s.DNSPolicy)
	s.TerminationGracePeriodSeconds, s.ActiveDeadlineSeconds = value(p, s.TerminationGracePeriodSeconds), value(p, s.ActiveDeadlineSeconds)
	s.Priority, s.PreemptionPolicy = value(p, s.Priority), value(p, s.PreemptionPolicy)
	s.EnableServiceLinks, s.AutomountServiceAccountToken = value(p, s.EnableServiceLinks), value(p, s.AutomountServiceAccountToken)
	s.Volumes, s.ImagePullSecrets = list(p, s.Volumes), list(p, s.ImagePullSecrets)
	s.Containers, s.InitContainers = list(p, s.Containers), list(p, s.InitContainers)
	s.Tolerations, s.TopologySpreadConstraints = list(p, s.Tolerations), list(p, s.TopologySpreadConstraints)
	s.ReadinessGates, s.HostAliases = list(p, s.ReadinessGates), list(p, s.HostAliases)
	s.NodeSelector, s.Overhead = p.texts(s.NodeSelector), p.resources(s.Overhead)
	s.Affinity, s.SecurityContext, s.Resources = one(p, s.Affinity), one(p, s.SecurityContext), one(p, s.Resources)
}

func (p *Pool) podStatus(s *corev1.PodStatus) {
	text(&s.Phase)
	text(&s.HostIP)
	text(&s.QOSClass)
	s.HostIPs = list(p, s.HostIPs)
	if len(s.PodIPs) > 0 && s.PodIPs[0].IP == s.PodIP {
		s.PodIPs[0].IP = s.PodIP
	}
	s.Resources, s.AllocatedResources = one(p, s.Resources), p.resources(s.AllocatedResources)
	s.Conditions = fitting(s.Conditions)
	for i := range s.Conditions {
		c := &s.Conditions[i]
		text(&c.Type)
		text(&c.Status)
		text(&c.Reason)
		text(&c.Message)
	}
	for _, statuses := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range statuses {
			p.containerStatus(&statuses[i])
		}
	}
	s.InitContainerStatuses, s.ContainerStatuses = p.stateless(s.InitContainerStatuses), p.stateless(s.ContainerStatuses)
}

// stateless makes equal lists one that have been trimmed of the containers'
// states, which are never equal.
func (p *Pool) stateless(statuses []corev1.ContainerStatus) []corev1.ContainerStatus {
	for i := range statuses {
		if statuses[i].State != (corev1.ContainerState{}) {
			return statuses
		}
	}
	return list(p, statuses)
}

// fitting returns a list that takes no more room than it needs: one that was
// decoded has grown by doubling.
func fitting[T any](parts []T) []T {
	if cap(parts) == len(parts) {
		return parts
	}
	return append(make([]T, 0, len(parts)), parts...)
}

func (p *Pool) containerStatus(s *corev1.ContainerStatus) {
	text(&s.Name)
	text(&s.Image)
	text(&s.ImageID)
	s.Started = value(p, s.Started)
	s.Resources, s.AllocatedResources = one(p, s.Resources), p.resources(s.AllocatedResources)
	s.VolumeMounts, s.User = list(p, s.VolumeMounts), one(p, s.User)
}
