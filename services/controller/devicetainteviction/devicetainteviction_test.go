package devicetainteviction_test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/devicetainteviction"
)

func slice(generation int64, taints ...resourcev1.DeviceTaint) *resourcev1.ResourceSlice {
	return &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: "slice"}, Spec: resourcev1.ResourceSliceSpec{
		Driver: "gpu.example.com", NodeName: ptr.To("n"), Pool: resourcev1.ResourcePool{Name: "n", Generation: generation, ResourceSliceCount: 1},
		Devices: []resourcev1.Device{{Name: "d0", Taints: taints}, {Name: "d1"}},
	}}
}

func broken(effect resourcev1.DeviceTaintEffect) resourcev1.DeviceTaint {
	return resourcev1.DeviceTaint{Key: "example.com/broken", Effect: effect}
}

// rule taints device d0.
func rule(effect resourcev1.DeviceTaintEffect) *resourcev1.DeviceTaintRule {
	return &resourcev1.DeviceTaintRule{ObjectMeta: metav1.ObjectMeta{Name: "rule"}, Spec: resourcev1.DeviceTaintRuleSpec{
		DeviceSelector: &resourcev1.DeviceTaintSelector{Driver: ptr.To("gpu.example.com"), Device: ptr.To("d0")}, Taint: broken(effect),
	}}
}

// use makes a pod on node n whose claim, of its own name, has a device.
func use(c *controllertest.Cluster, name, device string, tolerations ...resourcev1.DeviceToleration) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.PodSpec{
		NodeName: "n", Containers: []corev1.Container{{Name: "c", Image: "i"}}, ResourceClaims: []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: &name}},
	}}
	claim := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{
		Requests: []resourcev1.DeviceRequest{{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu", Tolerations: tolerations}}},
	}}}
	c.Apply(p, claim)
	controllertest.Change(c, claim, "status", func(r *resourcev1.ResourceClaim) {
		r.Status.Allocation = &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{{
			Request: "r", Driver: "gpu.example.com", Pool: "n", Device: device, Tolerations: tolerations,
		}}}}
		r.Status.ReservedFor = []resourcev1.ResourceClaimConsumerReference{{Resource: "pods", Name: p.Name, UID: p.UID}}
	})
	return p
}

// awaitGoing waits until some pods, and no others, are being deleted or gone.
func awaitGoing(c *controllertest.Cluster, names ...string) {
	controllertest.Await(c, "the end of "+strings.Join(names, " and "), func(all []*corev1.Pod) bool {
		return !slices.ContainsFunc(all, func(p *corev1.Pod) bool { return p.DeletionTimestamp == nil && slices.Contains(names, p.Name) })
	})
}

func awaitStatus(c *controllertest.Cluster, status metav1.ConditionStatus, reason, message string) {
	controllertest.Await(c, reason+" "+message, func(all []*resourcev1.DeviceTaintRule) bool {
		return slices.ContainsFunc(all, func(r *resourcev1.DeviceTaintRule) bool {
			return slices.ContainsFunc(r.Status.Conditions, func(c metav1.Condition) bool {
				return c.Type == resourcev1.DeviceTaintConditionEvictionInProgress && c.Status == status && c.Reason == reason && c.Message == message
			})
		})
	})
}

func expectStays(t *testing.T, c *controllertest.Cluster, name string) {
	t.Helper()
	pod := &corev1.Pod{}
	if err := c.Get(t.Context(), "default", name, pod); err != nil || pod.DeletionTimestamp != nil {
		t.Errorf("pod %s is evicted: %v", name, err)
	}
}

func TestRuleEvicts(t *testing.T) {
	c := controllertest.New(t)
	use(c, "p", "d0")
	use(c, "elsewhere", "d1")
	use(c, "tolerant", "d0", resourcev1.DeviceToleration{Operator: resourcev1.DeviceTolerationOpExists, Effect: resourcev1.DeviceTaintEffectNoExecute})
	r := rule(resourcev1.DeviceTaintEffectNoSchedule)
	c.Apply(slice(1), r)
	c.Start(c.Controller(devicetainteviction.New(c.Deps)))
	awaitStatus(c, metav1.ConditionFalse, "OtherEffect", "Eviction only happens for the NoExecute effect.")
	controllertest.Change(c, r, "", func(r *resourcev1.DeviceTaintRule) { r.Spec.Taint.Effect = resourcev1.DeviceTaintEffectNoExecute })
	c.AwaitEvent("Normal DeviceTaintManagerEviction p: Marking for deletion")
	awaitGoing(c, "p")
	controllertest.Change(c, r, "", func(r *resourcev1.DeviceTaintRule) { r.Spec.Taint.Value = "changed" })
	awaitStatus(c, metav1.ConditionFalse, "Completed", "1 pod evicted since starting the controller.")
	expectStays(t, c, "elsewhere")
	expectStays(t, c, "tolerant")
}

// What a driver publishes counts as long as its slice is of the newest generation.
func TestPublishedTaintEvicts(t *testing.T) {
	c := controllertest.New(t)
	use(c, "p", "d0")
	old := slice(1, broken(resourcev1.DeviceTaintEffectNoExecute))
	old.Name = "old"
	s := slice(2)
	c.Apply(old, s)
	c.Start(c.Controller(devicetainteviction.New(c.Deps)))
	use(c, "q", "d0")
	expectStays(t, c, "p")
	controllertest.Change(c, s, "", func(s *resourcev1.ResourceSlice) { s.Spec.Devices[0].Taints = old.Spec.Devices[0].Taints })
	awaitGoing(c, "p", "q")
	// A pod that comes later goes as well.
	use(c, "r", "d0")
	awaitGoing(c, "r")
}

// An eviction that is not due is taken back with its rule.
func TestToleratedForAWhile(t *testing.T) {
	c := controllertest.New(t)
	use(c, "p", "d0", resourcev1.DeviceToleration{Operator: resourcev1.DeviceTolerationOpExists, Effect: resourcev1.DeviceTaintEffectNoExecute, TolerationSeconds: ptr.To[int64](3600)})
	r := rule(resourcev1.DeviceTaintEffectNoExecute)
	c.Apply(slice(1), r)
	c.Start(c.Controller(devicetainteviction.New(c.Deps)))
	awaitStatus(c, metav1.ConditionTrue, "PodsPendingEviction", "1 pod needs to be evicted in 1 namespace.")
	c.Remove(r, "")
	c.AwaitEvent("Normal DeviceTaintManagerEviction p: Cancelling deletion")
	expectStays(t, c, "p")
}

func TestForecast(t *testing.T) {
	c := controllertest.New(t)
	use(c, "p", "d0")
	use(c, "q", "d0")
	use(c, "elsewhere", "d1")
	c.Apply(slice(1), rule(resourcev1.DeviceTaintEffectNone))
	c.Start(c.Controller(devicetainteviction.New(c.Deps)))
	awaitStatus(c, metav1.ConditionFalse, "NoEffect", "1 published device selected. 2 allocated devices selected. 2 pods would be evicted in 1 namespace if the effect was NoExecute. "+
		"This information will not be updated again. Recreate the DeviceTaintRule to trigger an update.")
	expectStays(t, c, "p")
}
