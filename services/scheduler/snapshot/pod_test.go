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

// Pods share their signature and the groups of their constraints only if they have what
// those are made of in common.
func TestPodsOfATemplateShareInfos(t *testing.T) {
	seconds := int64(5)
	priority := int32(1)
	constraint := corev1.TopologySpreadConstraint{
		MaxSkew: 1, TopologyKey: corev1.LabelTopologyZone, WhenUnsatisfiable: corev1.DoNotSchedule,
		LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}, MatchLabelKeys: []string{"app"},
	}
	var infos snapshot.PodInfos
	first := waitingPod()
	first.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{constraint}
	signature, err := infos.Of(first).Signature()
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(*corev1.Pod)
		same   bool
	}{
		"name":         {func(p *corev1.Pod) { p.Name, p.UID = "other", "2" }, true},
		"a volume":     {func(p *corev1.Pod) { p.Spec.Volumes = []corev1.Volume{{Name: "v"}} }, true},
		"labels":       {func(p *corev1.Pod) { p.Labels = map[string]string{"app": "db"} }, false},
		"namespace":    {func(p *corev1.Pod) { p.Namespace = "other" }, false},
		"node":         {func(p *corev1.Pod) { p.Spec.NodeName = "n1" }, false},
		"selector":     {func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"a": "b"} }, false},
		"tolerations":  {func(p *corev1.Pod) { p.Spec.Tolerations = []corev1.Toleration{{Key: "k", TolerationSeconds: &seconds}} }, false},
		"priority":     {func(p *corev1.Pod) { p.Spec.Priority = &priority }, false},
		"host network": {func(p *corev1.Pod) { p.Spec.HostNetwork = true }, false},
		"image volume": {func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "i"}}}}
		}, false},
		"constraints": {func(p *corev1.Pod) {
			other := constraint
			other.LabelSelector = nil
			p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{other, constraint}
		}, false},
	} {
		pod := *first
		tt.change(&pod)
		info, apart := infos.Of(&pod), snapshot.NewPodInfo(&pod)
		got, err := info.Signature()
		if err != nil {
			t.Fatal(err)
		}
		if want, _ := apart.Signature(); got != want || (got == signature) != tt.same {
			t.Errorf("%s: the signature is %q, want %q", name, got, want)
		}
		text := func(groups []snapshot.SpreadGroup) (out []string) {
			for _, g := range groups {
				out = append(out, g.Text)
			}
			return out
		}
		if diff := cmp.Diff(text(apart.SpreadGroups()), text(info.SpreadGroups())); diff != "" {
			t.Errorf("%s: other groups (-want +got):\n%s", name, diff)
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
