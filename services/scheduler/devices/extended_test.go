package devices

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestByResource(t *testing.T) {
	class := func(name, resource string, second int64) *resourcev1.DeviceClass {
		c := &resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(time.Unix(second, 0))}}
		if resource != "" {
			c.Spec.ExtendedResourceName = &resource
		}
		return c
	}
	got := ByResource([]*resourcev1.DeviceClass{
		class("plain", "", 1), class("old", "example.com/gpu", 1), class("new", "example.com/gpu", 3), class("middle", "example.com/gpu", 2),
		class("b", "example.com/nic", 1), class("a", "example.com/nic", 1),
	})
	for name, want := range map[corev1.ResourceName]string{
		"example.com/gpu": "new", "example.com/nic": "a", "deviceclass.resource.kubernetes.io/plain": "plain", "deviceclass.resource.kubernetes.io/old": "old",
	} {
		if c := got[name]; c == nil || c.Name != want {
			t.Errorf("%s: %v, not %s", name, c, want)
		}
	}
	if len(got) != 8 {
		t.Errorf("%d resources", len(got))
	}
}

// TestRequestsFor: containers are written as "name resource=n resource=n", init
// containers begin with "-", sidecars with "+".
func TestRequestsFor(t *testing.T) {
	classes := map[corev1.ResourceName]*resourcev1.DeviceClass{
		"a.com/gpu": {ObjectMeta: metav1.ObjectMeta{Name: "gpus"}}, "b.com/nic": {ObjectMeta: metav1.ObjectMeta{Name: "nics"}},
	}
	for _, tt := range []struct {
		name       string
		containers []string
		requests   string // name=class*count
		uses       string // container:request
	}{
		{"none", []string{"a cpu=1"}, "", ""},
		{"one", []string{"a cpu=1 a.com/gpu=2"}, "container-0-request-0=gpus*2", "a:container-0-request-0"},
		{"the request says which of the resources", []string{"a Z=1 a.com/gpu=1 b.com/nic=3"}, "container-0-request-1=gpus*1 container-0-request-2=nics*3", "a:container-0-request-1 a:container-0-request-2"},
		{"side by side", []string{"a a.com/gpu=1", "b a.com/gpu=2"}, "container-0-request-0=gpus*1 container-1-request-0=gpus*2", "a:container-0-request-0 b:container-1-request-0"},
		{"before, with no more", []string{"-i a.com/gpu=2", "a a.com/gpu=1", "b a.com/gpu=2"}, "container-1-request-0=gpus*1 container-2-request-0=gpus*2",
			"a:container-1-request-0 b:container-2-request-0 i:container-1-request-0 i:container-2-request-0"},
		{"before, with more", []string{"-i a.com/gpu=3", "a a.com/gpu=1"}, "container-0-request-0=gpus*2 container-1-request-0=gpus*1",
			"a:container-1-request-0 i:container-1-request-0 i:container-0-request-0"},
		{"before, the most demanding", []string{"-i a.com/gpu=1", "-j a.com/gpu=3", "-k a.com/gpu=2", "a cpu=1"}, "container-1-request-0=gpus*3",
			"i:container-1-request-0 j:container-1-request-0 k:container-1-request-0"},
		{"a sidecar is there after, not before", []string{"-i a.com/gpu=1", "+s a.com/gpu=1", "-j a.com/gpu=1", "a cpu=1"}, "container-1-request-0=gpus*1 container-2-request-0=gpus*1",
			"s:container-1-request-0 i:container-1-request-0 j:container-2-request-0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			requests, uses := RequestsFor(podOf(tt.containers), classes)
			var gotRequests, gotUses []string
			for _, r := range requests {
				gotRequests = append(gotRequests, fmt.Sprintf("%s=%s*%d", r.Name, r.Exactly.DeviceClassName, r.Exactly.Count))
			}
			for _, u := range uses {
				gotUses = append(gotUses, u.ContainerName+":"+u.RequestName)
			}
			if got := strings.Join(gotRequests, " "); got != tt.requests {
				t.Errorf("requests %s\nwant     %s", got, tt.requests)
			}
			if got := strings.Join(gotUses, " "); got != tt.uses {
				t.Errorf("uses %s\nwant %s", got, tt.uses)
			}
		})
	}
}

func podOf(containers []string) *corev1.Pod {
	pod := &corev1.Pod{}
	for _, text := range containers {
		words := strings.Fields(text)
		c := corev1.Container{Name: strings.TrimLeft(words[0], "+-"), Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{}}}
		for _, w := range words[1:] {
			name, amount, _ := strings.Cut(w, "=")
			c.Resources.Requests[corev1.ResourceName(name)] = resource.MustParse(amount)
		}
		switch words[0][0] {
		case '+':
			c.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
			fallthrough
		case '-':
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, c)
		default:
			pod.Spec.Containers = append(pod.Spec.Containers, c)
		}
	}
	return pod
}
