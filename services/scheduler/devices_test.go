package scheduler

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/scheduler/schedtest"
)

// publish makes a node have devices.
func (c *cluster) publish(node string, names ...string) *resourcev1.ResourceSlice {
	s := &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: node}, Spec: resourcev1.ResourceSliceSpec{
		Driver: "d.com", NodeName: &node, Pool: resourcev1.ResourcePool{Name: node, Generation: 1, ResourceSliceCount: 1},
	}}
	for _, name := range names {
		s.Spec.Devices = append(s.Spec.Devices, resourcev1.Device{Name: name})
	}
	c.create(s)
	return s
}

func (c *cluster) claim(name string) {
	c.create(&resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: resourcev1.ResourceClaimSpec{
		Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu"}}}},
	}})
}

// class makes the class of all devices.
func (c *cluster) class() {
	c.create(&resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}, Spec: resourcev1.DeviceClassSpec{
		Selectors: []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{Expression: `device.driver == "d.com"`}}},
	}})
}

func podWithClaim(name, claim string) *schedtest.PodBuilder {
	return schedtest.Pod(name).With(func(p *corev1.Pod) {
		p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "c", ResourceClaimName: &claim}}
	})
}

func (c *cluster) stored(name string) *resourcev1.ResourceClaim {
	c.t.Helper()
	claim := &resourcev1.ResourceClaim{}
	if err := c.Get(c.t.Context(), "default", name, claim); err != nil {
		c.t.Fatal(err)
	}
	return claim
}

func (c *cluster) message(pod string) string {
	p, ok := c.pods.Get("default", pod)
	if !ok {
		return ""
	}
	return conditionMessage(p)
}

func TestPodGoesWhereItsDevicesAre(t *testing.T) {
	c := start(t, schedtest.Node("n1"), schedtest.Node("n2"))
	c.create(podWithClaim("p", "a").Pod())
	says := func(pod, want string) {
		t.Helper()
		c.until(pod+" says "+want, func() bool { return strings.HasPrefix(c.message(pod), "0/2 nodes are available: "+want) })
	}
	says("p", `resourceclaim "a" not found.`)
	c.claim("a")
	says("p", "request r: device class gpu does not exist.")
	c.class()
	says("p", "2 cannot allocate all claims.")
	c.publish("n2", "d0", "d1")
	c.until("the pod is where a device is", func() bool { return c.nodeOf("p") == "n2" })
	claim := c.stored("a")
	pod, _ := c.pods.Get("default", "p")
	if claim.Status.Allocation == nil || claim.Status.Allocation.Devices.Results[0].Device != "d0" || len(claim.Status.ReservedFor) != 1 ||
		claim.Status.ReservedFor[0].UID != pod.UID || !slices.Contains(claim.Finalizers, resourcev1.Finalizer) {
		t.Errorf("the claim is %+v, %+v", claim.ObjectMeta, claim.Status)
	}
	// Another claim gets another device, a second pod of a claim follows the first.
	c.claim("b")
	c.create(podWithClaim("q", "b").Pod())
	c.create(podWithClaim("r", "a").Pod())
	c.until("the others are there", func() bool { return c.nodeOf("q") == "n2" && c.nodeOf("r") == "n2" })
	if got := c.stored("b").Status.Allocation.Devices.Results[0].Device; got != "d1" {
		t.Errorf("the second claim has %s", got)
	}
	if n := len(c.stored("a").Status.ReservedFor); n != 2 {
		t.Errorf("the first claim is reserved for %d pods", n)
	}
	// A third claim waits until a device is given up.
	c.claim("c")
	c.create(podWithClaim("s", "c").Pod())
	says("s", "2 cannot allocate all claims.")
	claim = c.stored("b")
	claim.Status = resourcev1.ResourceClaimStatus{}
	if err := c.UpdateStatus(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	c.until("the third has the device", func() bool { return c.nodeOf("s") == "n2" })
}

// A pod whose claim has yet to be made waits for its name.
func TestPodWaitsForTheClaimOfItsTemplate(t *testing.T) {
	c := start(t, schedtest.Node("n1"))
	c.class()
	c.publish("n1", "d0")
	pod := schedtest.Pod("p").With(func(p *corev1.Pod) {
		p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "own", ResourceClaimTemplateName: ptr.To("t")}}
	}).Pod()
	c.create(pod)
	c.until("the pod says what it waits for", func() bool {
		return strings.HasPrefix(c.message("p"), `0/1 nodes are available: pod claim "own": ResourceClaim not created yet.`)
	})
	c.claim("made")
	claim := c.stored("made")
	claim.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "p", UID: pod.UID, Controller: ptr.To(true)}}
	if err := c.Update(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	current := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}}
	if err := c.RetryOnConflict(t.Context(), current, func() bool {
		current.Status.ResourceClaimStatuses = []corev1.PodResourceClaimStatus{{Name: "own", ResourceClaimName: ptr.To("made")}}
		return true
	}, c.UpdateStatus); err != nil {
		t.Fatal(err)
	}
	c.until("the pod is placed", func() bool { return c.nodeOf("p") == "n1" })
}

// A pod that asks for an extended resource is given devices of the class that
// stands for it.
func TestDevicesStandForExtendedResources(t *testing.T) {
	c := start(t, schedtest.Node("n1"), schedtest.Node("n2"))
	c.publish("n2", "d0")
	pod := schedtest.Pod("p").Request("example.com/gpu", "1").Pod()
	pod.Spec.Containers[0].Resources.Limits = pod.Spec.Containers[0].Resources.Requests
	c.create(pod)
	c.until("the pod says what it lacks", func() bool {
		return strings.HasPrefix(c.message("p"), "0/2 nodes are available: 2 Insufficient example.com/gpu.")
	})
	c.create(&resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}, Spec: resourcev1.DeviceClassSpec{ExtendedResourceName: ptr.To("example.com/gpu")}})
	c.until("the pod is where the device is", func() bool { return c.nodeOf("p") == "n2" })
	bound := &corev1.Pod{}
	if err := c.Get(t.Context(), "default", "p", bound); err != nil {
		t.Fatal(err)
	}
	s := bound.Status.ExtendedResourceClaimStatus
	if s == nil || len(s.RequestMappings) != 1 {
		t.Fatalf("the pod's status says %+v", s)
	}
	claim := c.stored(s.ResourceClaimName)
	if a := claim.Status.Allocation; a == nil || a.Devices.Results[0].Device != "d0" || a.Devices.Results[0].Request != s.RequestMappings[0].RequestName || !metav1.IsControlledBy(claim, bound) {
		t.Errorf("the claim is %+v", claim)
	}
}

// Devices count like what nodes have themselves where a profile scores their
// resource: pods are packed onto one node.
func TestDevicesScore(t *testing.T) {
	config := parsed(t, `
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- pluginConfig:
  - name: NodeResourcesFit
    args: {scoringStrategy: {type: MostAllocated, resources: [{name: example.com/gpu, weight: 1}]}}
`)
	c := startConfigured(t, telemetry.Discard("scheduler"), func(c *Config) {
		if err := c.Adopt(config, nothingGiven); err != nil {
			t.Fatal(err)
		}
	}, schedtest.Node("n1"), schedtest.Node("n2"))
	c.create(&resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}, Spec: resourcev1.DeviceClassSpec{ExtendedResourceName: ptr.To("example.com/gpu")}})
	c.publish("n1", "a", "b", "c", "d", "e")
	c.publish("n2", "a", "b", "c", "d", "e")
	on := ""
	for _, name := range []string{"p0", "p1", "p2", "p3", "p4"} {
		pod := schedtest.Pod(name).Request("example.com/gpu", "1").Pod()
		pod.Spec.Containers[0].Resources.Limits = pod.Spec.Containers[0].Resources.Requests
		c.create(pod)
		c.until(name+" is placed", func() bool { return c.nodeOf(name) != "" })
		if on == "" {
			on = c.nodeOf(name)
		}
		if got := c.nodeOf(name); got != on {
			t.Errorf("%s is on %s, the others are on %s", name, got, on)
		}
	}
}

// Many pods at once never get the same device.
func TestDevicesAreGivenAwayOnce(t *testing.T) {
	c := start(t, schedtest.Node("n1"), schedtest.Node("n2"))
	c.class()
	c.publish("n1", "a", "b", "c", "d")
	c.publish("n2", "a", "b", "c", "d")
	names := strings.Split("0123456789", "")
	for _, name := range names {
		c.claim(name)
		c.create(podWithClaim("p"+name, name).Pod())
	}
	placed := func() int {
		n := 0
		for _, name := range names {
			if c.nodeOf("p"+name) != "" {
				n++
			}
		}
		return n
	}
	c.until("all devices are given away", func() bool { return placed() == 8 })
	seen := map[string]bool{}
	for _, name := range names {
		if a := c.stored(name).Status.Allocation; a != nil {
			id := a.Devices.Results[0].Pool + "/" + a.Devices.Results[0].Device
			if seen[id] {
				t.Errorf("%s was given away twice", id)
			}
			seen[id] = true
		}
	}
	if len(seen) != 8 {
		t.Errorf("%d devices were given away", len(seen))
	}
}
