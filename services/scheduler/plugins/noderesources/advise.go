package noderesources

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// lack is a resource of which a node has too little left.
type lack struct {
	name                 corev1.ResourceName
	want, free, capacity int64
}

// Advise implements framework.Advisor: it says how much is short, and which
// pods would make room.
func (p *Plugin) Advise(_ context.Context, _ *framework.CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) framework.Advice {
	lacks := p.lacks(pod, node)
	if len(lacks) == 0 {
		return framework.Advice{}
	}
	details, smaller := make([]string, len(lacks)), make([]string, 0, len(lacks))
	for i, l := range lacks {
		details[i] = l.String()
		if l.free > 0 {
			smaller = append(smaller, fmt.Sprintf("%s of %s", amount(l.name, l.free), l.name))
		}
	}
	advice := framework.Advice{Detail: "needs " + strings.Join(details, "; "), Remedies: makeRoom(lacks, pod, node)}
	if len(smaller) == len(lacks) {
		advice.Remedies = append(advice.Remedies, framework.Remedy{
			Kind: framework.ChangePod, Description: "request at most " + strings.Join(smaller, " and "),
		})
	}
	return advice
}

// lacks returns what the node lacks, a place for a pod first.
func (p *Plugin) lacks(pod *snapshot.PodInfo, node *snapshot.NodeInfo) []lack {
	var out []lack
	if free := node.Allocatable.Pods - int64(len(node.Pods)); free < 1 {
		out = append(out, lack{name: corev1.ResourcePods, want: 1, free: max(free, 0), capacity: node.Allocatable.Pods})
	}
	for _, name := range pod.Wanted {
		l := lack{name: name, want: pod.Requests.Of(name), capacity: node.Allocatable.Of(name)}
		l.free = l.capacity - node.Requested.Of(name)
		if l.want > l.free && !p.ignores(name) && !p.isLeft(name, l.capacity) {
			out = append(out, l)
		}
	}
	return out
}

// String is "300m of cpu, 120m of 4 are free".
func (l lack) String() string {
	if l.name == corev1.ResourcePods {
		return fmt.Sprintf("a place, all %d are taken", l.capacity)
	}
	if l.capacity == 0 {
		return fmt.Sprintf("%s of %s, the node has none", amount(l.name, l.want), l.name)
	}
	return fmt.Sprintf("%s of %s, %s of %s are free", amount(l.name, l.want), l.name, amount(l.name, max(l.free, 0)), amount(l.name, l.capacity))
}

// amount writes an amount as users do.
func amount(name corev1.ResourceName, v int64) string {
	switch {
	case name == corev1.ResourceCPU:
		return resource.NewMilliQuantity(v, resource.DecimalSI).String()
	case name == corev1.ResourceMemory, name == corev1.ResourceEphemeralStorage, strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix):
		return resource.NewQuantity(v, resource.BinarySI).String()
	}
	return resource.NewQuantity(v, resource.DecimalSI).String()
}

// freed is what a pod's end gives of a resource.
func freed(p *snapshot.PodInfo, name corev1.ResourceName) int64 {
	if name == corev1.ResourcePods {
		return 1
	}
	return p.Requests.Of(name)
}

// enough says whether the node has what it lacks once pods have gone.
func enough(lacks []lack, gone []*snapshot.PodInfo) bool {
	for _, l := range lacks {
		free := l.free
		for _, p := range gone {
			free += freed(p, l.name)
		}
		if free < l.want {
			return false
		}
	}
	return true
}

// makeRoom returns the pods whose end would do, the smallest first.
func makeRoom(lacks []lack, pod *snapshot.PodInfo, node *snapshot.NodeInfo) []framework.Remedy {
	return framework.MakeRoom(node.Pods, pod, func(gone []*snapshot.PodInfo) bool { return enough(lacks, gone) }, func(a, b *snapshot.PodInfo) int {
		return cmp.Compare(freed(a, lacks[0].name), freed(b, lacks[0].name))
	})
}
