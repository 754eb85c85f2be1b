package usage

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// OfNode returns a node's usage; false if it is not known.
func OfNode(node *corev1.Node, stats *nodev1.StatsResponse) (*metricsv1beta1.NodeMetrics, bool) {
	u := stats.GetUsage()
	if u.GetWindow() == nil {
		return nil, false
	}
	return &metricsv1beta1.NodeMetrics{
		TypeMeta:   metav1.TypeMeta{Kind: "NodeMetrics", APIVersion: metricsv1beta1.SchemeGroupVersion.String()},
		ObjectMeta: metav1.ObjectMeta{Name: node.Name, Labels: node.Labels, CreationTimestamp: metav1.NewTime(stats.GetTime().AsTime())},
		Timestamp:  metav1.NewTime(stats.GetTime().AsTime()), Window: metav1.Duration{Duration: u.GetWindow().AsDuration()},
		Usage: list(u),
	}, true
}

// OfPod returns the usage of a pod's containers, from what its node says;
// false if the pod is not there, or one of its containers has just begun.
func OfPod(pod *corev1.Pod, stats *nodev1.StatsResponse) (*metricsv1beta1.PodMetrics, bool) {
	for _, p := range stats.GetPods() {
		if p.GetUid() != string(pod.UID) {
			continue
		}
		m := &metricsv1beta1.PodMetrics{
			TypeMeta: metav1.TypeMeta{Kind: "PodMetrics", APIVersion: metricsv1beta1.SchemeGroupVersion.String()},
			ObjectMeta: metav1.ObjectMeta{
				Namespace: pod.Namespace, Name: pod.Name, Labels: pod.Labels, CreationTimestamp: metav1.NewTime(stats.GetTime().AsTime()),
			},
			Timestamp: metav1.NewTime(stats.GetTime().AsTime()),
		}
		for _, c := range p.GetContainers() {
			if c.GetUsage().GetWindow() == nil {
				return nil, false
			}
			m.Window = metav1.Duration{Duration: c.GetUsage().GetWindow().AsDuration()}
			m.Containers = append(m.Containers, metricsv1beta1.ContainerMetrics{Name: c.GetName(), Usage: list(c.GetUsage())})
		}
		return m, len(m.Containers) > 0
	}
	return nil, false
}

func list(u *nodev1.Usage) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewScaledQuantity(int64(u.GetCpuNanocores()), resource.Nano),
		corev1.ResourceMemory: *resource.NewQuantity(int64(u.GetMemoryWorkingSetBytes()), resource.BinarySI),
	}
}
