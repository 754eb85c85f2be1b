package snapshot

import (
	"fmt"
	"maps"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
)

// template is what has been worked out, when it was first asked for, of all pods that
// have in common, and not just alike, what their Signature covers.
type template struct {
	sign      sync.Once
	signature string
	err       error

	spread       sync.Once
	spreadGroups []SpreadGroup
}

// newTemplate returns a template of a pod that waits, nil of one that is placed.
func newTemplate(pod *corev1.Pod) *template {
	if pod.Spec.NodeName != "" {
		return nil
	}
	return &template{}
}

// SpreadGroup is which pods of the namespace a topology spread constraint speaks of.
type SpreadGroup struct {
	labels.Selector
	// Text is equal for selectors that match the same pods.
	Text string
}

// NewSpreadGroup returns the group that a selector matches.
func NewSpreadGroup(selector labels.Selector) SpreadGroup {
	return SpreadGroup{Selector: selector, Text: selector.String()}
}

// Signature is equal for two pods if no plugin that looks only at the pod and
// one node can tell them apart: it covers every field of the spec that bears
// on placement, and the namespace and labels for the rest.
func (p *PodInfo) Signature() (string, error) {
	t := p.template
	if t == nil {
		t = &template{}
	}
	t.sign.Do(func() { t.signature, t.err = sign(p.Pod) })
	if t.err != nil {
		return "", fmt.Errorf("sign pod %s: %w", p.Key(), t.err)
	}
	return t.signature, nil
}

func sign(pod *corev1.Pod) (string, error) {
	reduced := corev1.Pod{Spec: corev1.PodSpec{
		NodeName: pod.Spec.NodeName, NodeSelector: pod.Spec.NodeSelector,
		Affinity: pod.Spec.Affinity, Tolerations: pod.Spec.Tolerations,
		Priority: pod.Spec.Priority, Overhead: pod.Spec.Overhead, Resources: pod.Spec.Resources,
		TopologySpreadConstraints: pod.Spec.TopologySpreadConstraints, HostNetwork: pod.Spec.HostNetwork,
		InitContainers: reduceContainers(pod.Spec.InitContainers), Containers: reduceContainers(pod.Spec.Containers),
		Volumes: imageVolumes(pod.Spec.Volumes),
	}}
	reduced.Namespace, reduced.Labels = pod.Namespace, pod.Labels
	b, err := reduced.Marshal()
	return string(b), err
}

// sharesTemplate says whether pods that share their demand share the rest of what their
// Signature covers as well.
func sharesTemplate(a, b *corev1.Pod) bool {
	x, y := &a.Spec, &b.Spec
	return x.NodeName == y.NodeName && maps.Equal(x.NodeSelector, y.NodeSelector) && shared(x.Tolerations, y.Tolerations) &&
		ptr.Equal(x.Priority, y.Priority) && shared(x.TopologySpreadConstraints, y.TopologySpreadConstraints) &&
		(shared(x.Volumes, y.Volumes) || len(imageVolumes(x.Volumes))+len(imageVolumes(y.Volumes)) == 0)
}

// SpreadGroups returns the group of each of the pod's topology spread constraints.
func (p *PodInfo) SpreadGroups() []SpreadGroup {
	t := p.template
	if t == nil {
		t = &template{}
	}
	t.spread.Do(func() {
		for i := range p.Pod.Spec.TopologySpreadConstraints {
			t.spreadGroups = append(t.spreadGroups, NewSpreadGroup(spreadSelector(p.Pod, &p.Pod.Spec.TopologySpreadConstraints[i])))
		}
	})
	return t.spreadGroups
}

// alikeKept is of how many pods PodInfos remembers the infos.
const alikeKept = 16

// PodInfos makes PodInfos. Pods of one template that come one after the other, or after
// few others, share what is worked out of them if they share their specs, as in the copy
// of an informer. The zero value is ready, and safe for concurrent use.
type PodInfos struct {
	mu     sync.Mutex
	recent [alikeKept]*PodInfo
	next   int // the oldest
}

// Of works a pod out.
func (s *PodInfos) Of(pod *corev1.Pod) *PodInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, like := range s.recent {
		if like == nil || !like.covers(pod) {
			continue
		}
		return like.as(pod)
	}
	info := NewPodInfo(pod)
	s.recent[s.next] = info
	s.next = (s.next + 1) % alikeKept
	return info
}
