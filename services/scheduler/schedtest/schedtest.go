// Package schedtest builds the nodes and pods of scheduler tests in the words
// of the case: schedtest.Pod("web").CPU("500m").Node("n1").
package schedtest

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/services/scheduler/snapshot"
)

// PodBuilder builds a pod.
type PodBuilder struct{ pod *corev1.Pod }

// Pod begins a pod in namespace default with one container.
func Pod(name string) *PodBuilder {
	return &PodBuilder{&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)},
		Spec: corev1.PodSpec{
			SchedulerName: corev1.DefaultSchedulerName,
			Containers:    []corev1.Container{{Name: "main", Image: "image"}},
		},
	}}
}

// Request makes the first container request a resource.
func (b *PodBuilder) Request(name corev1.ResourceName, quantity string) *PodBuilder {
	c := &b.pod.Spec.Containers[0]
	if c.Resources.Requests == nil {
		c.Resources.Requests = corev1.ResourceList{}
	}
	c.Resources.Requests[name] = resource.MustParse(quantity)
	return b
}

// CPU requests CPU.
func (b *PodBuilder) CPU(quantity string) *PodBuilder { return b.Request(corev1.ResourceCPU, quantity) }

// Memory requests memory.
func (b *PodBuilder) Memory(quantity string) *PodBuilder {
	return b.Request(corev1.ResourceMemory, quantity)
}

// Node places the pod.
func (b *PodBuilder) Node(name string) *PodBuilder {
	b.pod.Spec.NodeName = name
	return b
}

// Label labels the pod.
func (b *PodBuilder) Label(key, value string) *PodBuilder {
	if b.pod.Labels == nil {
		b.pod.Labels = map[string]string{}
	}
	b.pod.Labels[key] = value
	return b
}

// Priority sets the pod's priority.
func (b *PodBuilder) Priority(p int32) *PodBuilder {
	b.pod.Spec.Priority = &p
	return b
}

// With changes the pod in whatever other way.
func (b *PodBuilder) With(change func(*corev1.Pod)) *PodBuilder {
	change(b.pod)
	return b
}

// Pod returns the pod.
func (b *PodBuilder) Pod() *corev1.Pod { return b.pod }

// Info returns the pod as plugins see it.
func (b *PodBuilder) Info() *snapshot.PodInfo { return snapshot.NewPodInfo(b.pod) }

// NodeBuilder builds a node.
type NodeBuilder struct {
	node *corev1.Node
	pods []*corev1.Pod
}

// Node begins a node with 4 CPUs, 8 GiB and room for 110 pods.
func Node(name string) *NodeBuilder {
	b := &NodeBuilder{node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{corev1.LabelHostname: name},
	}}}
	return b.Allocatable(corev1.ResourceCPU, "4").Allocatable(corev1.ResourceMemory, "8Gi").Allocatable(corev1.ResourcePods, strconv.Itoa(110))
}

// Allocatable sets what the node offers of a resource.
func (b *NodeBuilder) Allocatable(name corev1.ResourceName, quantity string) *NodeBuilder {
	if b.node.Status.Allocatable == nil {
		b.node.Status.Allocatable = corev1.ResourceList{}
	}
	b.node.Status.Allocatable[name] = resource.MustParse(quantity)
	return b
}

// Label labels the node.
func (b *NodeBuilder) Label(key, value string) *NodeBuilder {
	b.node.Labels[key] = value
	return b
}

// Taint taints the node.
func (b *NodeBuilder) Taint(key string, effect corev1.TaintEffect) *NodeBuilder {
	b.node.Spec.Taints = append(b.node.Spec.Taints, corev1.Taint{Key: key, Effect: effect})
	return b
}

// Image puts an image on the node.
func (b *NodeBuilder) Image(name string, size int64) *NodeBuilder {
	b.node.Status.Images = append(b.node.Status.Images, corev1.ContainerImage{Names: []string{name}, SizeBytes: size})
	return b
}

// Pods places pods on the node, for Info.
func (b *NodeBuilder) Pods(pods ...*PodBuilder) *NodeBuilder {
	for _, p := range pods {
		b.pods = append(b.pods, p.Node(b.node.Name).Pod())
	}
	return b
}

// With changes the node in whatever other way.
func (b *NodeBuilder) With(change func(*corev1.Node)) *NodeBuilder {
	change(b.node)
	return b
}

// Node returns the node.
func (b *NodeBuilder) Node() *corev1.Node { return b.node }

// Info returns the node and its pods as plugins see them.
func (b *NodeBuilder) Info() *snapshot.NodeInfo {
	info := snapshot.NewNodeInfo(b.node)
	for _, p := range b.pods {
		info.AddPod(snapshot.NewPodInfo(p))
	}
	return info
}
