package podlimits_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"navarch.dev/navarch/agent/podlimits"
)

func limits(memory, cpu string) corev1.ResourceRequirements {
	l := corev1.ResourceList{}
	if memory != "" {
		l[corev1.ResourceMemory] = resource.MustParse(memory)
	}
	if cpu != "" {
		l[corev1.ResourceCPU] = resource.MustParse(cpu)
	}
	return corev1.ResourceRequirements{Limits: l}
}

func TestOf(t *testing.T) {
	own := limits("1Ki", "")
	for name, tt := range map[string]struct {
		own         *corev1.ResourceRequirements
		init        []corev1.ResourceRequirements
		containers  []corev1.ResourceRequirements
		memory, cpu int64
	}{
		"both limited":                      {nil, nil, []corev1.ResourceRequirements{limits("100", "1"), limits("200", "500m")}, 300, 1500},
		"one of them is not":                {nil, nil, []corev1.ResourceRequirements{limits("100", "1"), limits("", "1")}, 0, 2000},
		"the pod itself":                    {&own, nil, []corev1.ResourceRequirements{limits("", "")}, 1024, 0},
		"an init container needs more":      {nil, []corev1.ResourceRequirements{limits("500", "1")}, []corev1.ResourceRequirements{limits("100", "1")}, 500, 1000},
		"an init container without a limit": {nil, []corev1.ResourceRequirements{limits("", "1")}, []corev1.ResourceRequirements{limits("100", "1")}, 0, 1000},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{Resources: tt.own}}
		for _, r := range tt.init {
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{Resources: r})
		}
		for _, r := range tt.containers {
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Resources: r})
		}
		if memory, cpu := podlimits.Of(pod, corev1.ResourceMemory), podlimits.Of(pod, corev1.ResourceCPU); memory != tt.memory || cpu != tt.cpu {
			t.Errorf("%s: memory %d, CPU %d, want %d and %d", name, memory, cpu, tt.memory, tt.cpu)
		}
	}
}
