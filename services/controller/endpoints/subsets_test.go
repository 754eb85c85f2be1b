package endpoints

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestAThousandAddresses has 1100 pods, the last 50 of which are ready: these
// are among those that are shown.
func TestAThousandAddresses(t *testing.T) {
	var pods []*corev1.Pod
	for i := range 1100 {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("p", i), UID: types.UID(fmt.Sprintf("%04d", i))}}
		p.Status.PodIP = fmt.Sprintf("10.0.%d.%d", i/250, i%250)
		p.Status.Phase = corev1.PodRunning
		if i >= 1050 {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}
		pods = append(pods, p)
	}
	all, truncated := subsets(&corev1.Service{}, pods)
	if !truncated || len(all) != 1 || len(all[0].Addresses) != 50 || len(all[0].NotReadyAddresses) != 950 {
		t.Errorf("truncated %v, %d subsets", truncated, len(all))
	}
	if a := capacityAnnotation(nil, truncated); a[corev1.EndpointsOverCapacity] != "truncated" {
		t.Errorf("annotations %v", a)
	}
	if a := capacityAnnotation(map[string]string{corev1.EndpointsOverCapacity: "truncated", "other": "x"}, false); len(a) != 1 {
		t.Errorf("annotations of fewer: %v", a)
	}
}

// TestAddressOfTheServicesFamily has a pod with addresses of both families.
func TestAddressOfTheServicesFamily(t *testing.T) {
	pod := &corev1.Pod{Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "fd00::1"}}}}
	for family, want := range map[corev1.IPFamily]string{"": "10.0.0.1", corev1.IPv4Protocol: "10.0.0.1", corev1.IPv6Protocol: "fd00::1"} {
		s := &corev1.Service{}
		if family != "" {
			s.Spec.IPFamilies = []corev1.IPFamily{family}
		}
		if got := address(s, pod); got != want {
			t.Errorf("%q: %s, want %s", family, got, want)
		}
	}
}
