package admission_test

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/client"
)

// withNode makes a node and a pod on it.
func withNode(t *testing.T, c *client.Client, labels map[string]string) *corev1.Pod {
	t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: labels}}
	pod := podOf("p", container("c", list("cpu", "1", "memory", "1Gi"), nil))
	pod.Spec.NodeName = "n"
	mustCreate(t, c, node, pod)
	node.Status.Allocatable = list("cpu", "2", "memory", "2Gi")
	if err := c.UpdateStatus(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	return pod
}

func TestPodResizeWithinNode(t *testing.T) {
	c := newStore(t)
	pod := withNode(t, c, nil)
	for _, test := range []struct {
		name     string
		requests corev1.ResourceList
		want     string
	}{
		{"all that the node has", list("cpu", "2", "memory", "2Gi"), ""},
		{"more", list("cpu", "2500m", "memory", "3Gi"),
			`pods "p" is forbidden: node didn't have enough allocatable resources: cpu, requested: 2500, allocatable: 2000; memory, requested: 3221225472, allocatable: 2147483648`},
		{"less", list("cpu", "1m", "memory", "1Mi"), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			pod := pod.DeepCopy()
			pod.ResourceVersion, pod.Spec.Containers[0].Resources.Requests = "", test.requests
			err := c.UpdateSubresource(t.Context(), pod, "resize")
			if got := refusal(t, err); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			var status apierrors.APIStatus
			if errors.As(err, &status) && status.Status().Details.Causes[0].Type != "NodeCapacity" {
				t.Errorf("causes %v", status.Status().Details.Causes)
			}
		})
	}
}

func TestPodResizeOnOtherPlatforms(t *testing.T) {
	c := newStore(t)
	pod := withNode(t, c, map[string]string{corev1.LabelOSStable: "windows"})
	if err := c.UpdateSubresource(t.Context(), pod, "resize"); err != nil {
		t.Errorf("nothing changed, and yet: %v", err)
	}
	pod.Spec.Containers[0].Resources.Requests = list("cpu", "1500m", "memory", "1Gi")
	got := refusal(t, c.UpdateSubresource(t.Context(), pod, "resize"))
	if want := `pods "p" is forbidden: pod resize is only supported on linux nodes, node "n" is "windows"`; got != want {
		t.Errorf("got %s", got)
	}
}

// A resize must keep to the limits of its namespace, and gets its defaults.
func TestLimitRangerOnResize(t *testing.T) {
	c := newStore(t)
	pod := podOf("p", container("c", list("cpu", "1", "memory", "1Gi"), list("memory", "1Gi")))
	mustCreate(t, c, pod, limitRange(corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Max: list("cpu", "2"), Default: list("cpu", "2")}))
	above := pod.DeepCopy()
	above.Spec.Containers[0].Resources.Limits["cpu"] = list("cpu", "3")["cpu"]
	got := refusal(t, c.UpdateSubresource(t.Context(), above, "resize"))
	if want := `pods "p" is forbidden: maximum cpu usage per Container is 2, but limit is 3`; got != want {
		t.Errorf("got %s", got)
	}
	if err := c.UpdateSubresource(t.Context(), pod, "resize"); err != nil {
		t.Fatal(err)
	}
	limits := pod.Spec.Containers[0].Resources.Limits
	if limits.Cpu().String() != "2" || pod.Generation != 2 || len(pod.Annotations) > 0 {
		t.Errorf("limits %v, generation %d, annotations %v", limits, pod.Generation, pod.Annotations)
	}
}
