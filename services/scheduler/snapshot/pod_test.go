package snapshot_test

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/services/scheduler/snapshot"
)

// waitingPod is one that keeps off others and leaves its memory open.
func waitingPod() *corev1.Pod {
	labels := map[string]string{"app": "web"}
	few := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "1", Labels: labels},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{
				Name: "main", Resources: corev1.ResourceRequirements{Requests: few}, Ports: []corev1.ContainerPort{{HostPort: 80}},
			}},
			Affinity: &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
					LabelSelector: &metav1.LabelSelector{MatchLabels: labels}, MatchLabelKeys: []string{"app"}, TopologyKey: corev1.LabelHostname,
				}},
			}},
		},
	}
}

// A newer version's info is the same whether it is worked out or taken over.
func TestRenewedPodsAreWorkedOut(t *testing.T) {
	more := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("1Gi")}
	changes := map[string]func(*corev1.Pod){
		"bound":        func(*corev1.Pod) {},
		"scheduled":    func(p *corev1.Pod) { p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled}} },
		"another copy": func(p *corev1.Pod) { p.Spec = *p.Spec.DeepCopy() },
		"labels":       func(p *corev1.Pod) { p.Labels = map[string]string{"app": "db"} },
		"requests": func(p *corev1.Pod) {
			p.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: more}}}
		},
		"init containers": func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: more}}}
		},
		"overhead":      func(p *corev1.Pod) { p.Spec.Overhead = more },
		"the pod's own": func(p *corev1.Pod) { p.Spec.Resources = &corev1.ResourceRequirements{Requests: more} },
		"affinity":      func(p *corev1.Pod) { p.Spec.Affinity = nil },
		"allocated": func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", AllocatedResources: more}}
		},
		"allocated to pods": func(p *corev1.Pod) {
			p.Status.AllocatedResources, p.Status.Resources = more, &corev1.ResourceRequirements{Requests: more}
		},
	}
	for name, change := range changes {
		first := waitingPod()
		newer := *first
		newer.Spec.NodeName = "n1"
		change(&newer)
		third := newer
		info := snapshot.NewPodInfo(first)
		for _, pod := range []*corev1.Pod{&newer, &third, first} { // and back
			info = info.Renewed(pod)
			if diff := cmp.Diff(snapshot.NewPodInfo(pod), info, cmp.Exporter(func(reflect.Type) bool { return true })); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	}
}

func TestContainersThatAskForNothingCount(t *testing.T) {
	all := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi")}
	cpu := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}
	for _, c := range []struct {
		name             string
		init, containers []corev1.ResourceList
		cpu, memory      int64 // MiB
	}{
		{"one that asks for all", nil, []corev1.ResourceList{all}, 100, 64},
		{"one that asks for nothing", nil, []corev1.ResourceList{nil}, 100, 200},
		{"one that asks for less", nil, []corev1.ResourceList{all, cpu}, 200, 264},
		{"an init container that asks for nothing", []corev1.ResourceList{nil}, []corev1.ResourceList{all}, 100, 200},
	} {
		pod := new(corev1.Pod)
		for _, r := range c.init {
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{Resources: corev1.ResourceRequirements{Requests: r}})
		}
		for _, r := range c.containers {
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Resources: corev1.ResourceRequirements{Requests: r}})
		}
		if load := snapshot.NewPodInfo(pod).Load; load.MilliCPU != c.cpu || load.Memory != c.memory<<20 {
			t.Errorf("%s: the load is %d m and %d MiB, want %d and %d", c.name, load.MilliCPU, load.Memory>>20, c.cpu, c.memory)
		}
	}
}
