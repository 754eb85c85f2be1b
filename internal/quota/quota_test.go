package quota_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/quota"
)

func list(pairs ...string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return out
}

func container(requests, limits corev1.ResourceList) corev1.Container {
	return corev1.Container{Name: "c", Resources: corev1.ResourceRequirements{Requests: requests, Limits: limits}}
}

func TestUsage(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	deleted := func(before time.Duration, grace int64) metav1.ObjectMeta {
		return metav1.ObjectMeta{DeletionTimestamp: ptr.To(metav1.NewTime(now.Add(-before))), DeletionGracePeriodSeconds: &grace}
	}
	one := corev1.PodSpec{Containers: []corev1.Container{container(list("cpu", "1"), nil)}}
	for _, test := range []struct {
		name string
		obj  kinds.Object
		want corev1.ResourceList
	}{
		{"sum of containers", &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{
			container(list("cpu", "1", "memory", "1Gi"), list("cpu", "2")), container(list("cpu", "500m"), nil),
		}}}, list("count/pods", "1", "pods", "1", "cpu", "1500m", "requests.cpu", "1500m", "memory", "1Gi", "requests.memory", "1Gi", "limits.cpu", "2")},
		{"an initial container that needs more", &corev1.Pod{Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{container(list("cpu", "3"), nil)}, Containers: one.Containers,
		}}, list("count/pods", "1", "pods", "1", "cpu", "3", "requests.cpu", "3")},
		{"what the runtime needs", &corev1.Pod{Spec: corev1.PodSpec{Overhead: list("cpu", "250m"), Containers: one.Containers}},
			list("count/pods", "1", "pods", "1", "cpu", "1250m", "requests.cpu", "1250m")},
		{"huge pages, storage and devices", &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{
			container(list("hugepages-2Mi", "4Mi", "ephemeral-storage", "1Gi", "example.com/gpu", "2"), list("ephemeral-storage", "2Gi", "example.com/gpu", "2")),
		}}}, list("count/pods", "1", "pods", "1", "hugepages-2Mi", "4Mi", "requests.hugepages-2Mi", "4Mi", "ephemeral-storage", "1Gi",
			"requests.ephemeral-storage", "1Gi", "limits.ephemeral-storage", "2Gi", "requests.example.com/gpu", "2")},
		{"ended", &corev1.Pod{Spec: one, Status: corev1.PodStatus{Phase: corev1.PodFailed}}, list("count/pods", "1")},
		{"being deleted", &corev1.Pod{ObjectMeta: deleted(5*time.Second, 30), Spec: one},
			list("count/pods", "1", "pods", "1", "cpu", "1", "requests.cpu", "1")},
		{"deleted in vain", &corev1.Pod{ObjectMeta: deleted(31*time.Second, 30), Spec: one}, list("count/pods", "1")},
		{"a claim of a class", &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: ptr.To("fast"), Resources: corev1.VolumeResourceRequirements{Requests: list("storage", "1Gi")},
		}}, list("count/persistentvolumeclaims", "1", "persistentvolumeclaims", "1", "requests.storage", "1Gi",
			"fast.storageclass.storage.k8s.io/persistentvolumeclaims", "1", "fast.storageclass.storage.k8s.io/requests.storage", "1Gi")},
		{"a claim that grew too far", &corev1.PersistentVolumeClaim{
			Spec:   corev1.PersistentVolumeClaimSpec{Resources: corev1.VolumeResourceRequirements{Requests: list("storage", "1Gi")}},
			Status: corev1.PersistentVolumeClaimStatus{AllocatedResources: list("storage", "3Gi")},
		}, list("count/persistentvolumeclaims", "1", "persistentvolumeclaims", "1", "requests.storage", "3Gi")},
		{"a load balancer without node ports", &corev1.Service{Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, AllocateLoadBalancerNodePorts: ptr.To(false), Ports: []corev1.ServicePort{{NodePort: 30000}, {}},
		}}, list("count/services", "1", "services", "1", "services.loadbalancers", "1", "services.nodeports", "1")},
		{"a claim of devices", &resourcev1.ResourceClaim{Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
			{Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 2}},
			{Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "nic", AllocationMode: resourcev1.DeviceAllocationModeAll}},
			{FirstAvailable: []resourcev1.DeviceSubRequest{
				{DeviceClassName: "gpu", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 1},
				{DeviceClassName: "gpu", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 4},
				{DeviceClassName: "tpu", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 1}}},
		}}}}, list("count/resourceclaims.resource.k8s.io", "1", "gpu.deviceclass.resource.k8s.io/devices", "6",
			"nic.deviceclass.resource.k8s.io/devices", "32", "tpu.deviceclass.resource.k8s.io/devices", "1",
			"requests.deviceclass.resource.kubernetes.io/gpu", "6", "requests.deviceclass.resource.kubernetes.io/nic", "32",
			"requests.deviceclass.resource.kubernetes.io/tpu", "1")},
		{"devices that stand for a resource", devicesFor("", 2), list("count/resourceclaims.resource.k8s.io", "1", "fast.deviceclass.resource.k8s.io/devices", "2",
			"requests.deviceclass.resource.kubernetes.io/fast", "2", "requests.example.com/gpu", "2")},
		{"as many as its pod requests", devicesFor("two", 2), list("count/resourceclaims.resource.k8s.io", "1", "fast.deviceclass.resource.k8s.io/devices", "2",
			"requests.deviceclass.resource.kubernetes.io/fast", "2")},
		{"more than its pod requests", devicesFor("two", 3), list("count/resourceclaims.resource.k8s.io", "1", "fast.deviceclass.resource.k8s.io/devices", "3",
			"requests.deviceclass.resource.kubernetes.io/fast", "3", "requests.example.com/gpu", "1")},
		{"its pod has ended", devicesFor("ended", 2), list("count/resourceclaims.resource.k8s.io", "1", "fast.deviceclass.resource.k8s.io/devices", "2",
			"requests.deviceclass.resource.kubernetes.io/fast", "2", "requests.example.com/gpu", "2")},
	} {
		t.Run(test.name, func(t *testing.T) {
			kind, err := kinds.Default().ForObject(test.obj)
			if err != nil {
				t.Fatal(err)
			}
			if got := quota.Usage(kind, test.obj, now, known{}); !quota.Equal(got, test.want) {
				t.Errorf("got  %s\nwant %s", quota.Format(got), quota.Format(test.want))
			}
		})
	}
}

// devicesFor is a claim of devices of class fast, for a pod or none.
func devicesFor(pod string, n int64) *resourcev1.ResourceClaim {
	return &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: pod}, Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
		{Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "fast", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: n}},
	}}}}
}

// known is that class fast stands for example.com/gpu, of which pods two and ended
// request two.
type known struct{}

func (known) ExtendedResource(class string) string {
	return map[string]string{"fast": "example.com/gpu"}[class]
}

func (known) Requester(c *resourcev1.ResourceClaim) *corev1.Pod {
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{container(list("example.com/gpu", "2"), nil)}}}
	switch c.Name {
	case "two":
		return pod
	case "ended":
		pod.Status.Phase = corev1.PodFailed
		return pod
	}
	return nil
}

// TestRequesterOf: claim x is made at 2 s, for pod p as it says. Others may say the
// same.
func TestRequesterOf(t *testing.T) {
	claim := func(name, pod string, second int64) *resourcev1.ResourceClaim {
		return &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(time.Unix(second, 0)), Annotations: map[string]string{resourcev1.ExtendedResourceClaimAnnotation: "true"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod, UID: types.UID(pod), Controller: ptr.To(true)}},
		}}
	}
	unmarked := claim("x", "p", 2)
	unmarked.Annotations = nil
	for _, tt := range []struct {
		name   string
		claim  *resourcev1.ResourceClaim
		says   string // the pod's status
		others []*resourcev1.ResourceClaim
		want   bool
	}{
		{"the only one", claim("x", "p", 2), "", nil, true},
		{"without the mark", unmarked, "", nil, false},
		{"another pod's", claim("x", "q", 2), "", nil, false},
		{"the pod says so", claim("x", "p", 2), "x", []*resourcev1.ResourceClaim{claim("a", "p", 1)}, true},
		{"the pod says otherwise", claim("x", "p", 2), "a", nil, false},
		{"the first", claim("x", "p", 2), "", []*resourcev1.ResourceClaim{claim("x", "p", 2), claim("a", "p", 3), claim("b", "q", 1)}, true},
		{"another is older", claim("x", "p", 2), "", []*resourcev1.ResourceClaim{claim("y", "p", 1)}, false},
		{"another has the lower name", claim("x", "p", 2), "", []*resourcev1.ResourceClaim{claim("a", "p", 2)}, false},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "p"}}
		if tt.says != "" {
			pod.Status.ExtendedResourceClaimStatus = &corev1.PodExtendedResourceClaimStatus{ResourceClaimName: tt.says}
		}
		if got := quota.RequesterOf(tt.claim, pod, func() []*resourcev1.ResourceClaim { return tt.others }); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestScopeOfVolumeAttributesClasses(t *testing.T) {
	scope := func(operator corev1.ScopeSelectorOperator, values ...string) *corev1.ResourceQuotaSpec {
		return &corev1.ResourceQuotaSpec{ScopeSelector: &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{{
			ScopeName: corev1.ResourceQuotaScopeVolumeAttributesClass, Operator: operator, Values: values,
		}}}}
	}
	gold := &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{VolumeAttributesClassName: ptr.To("gold")}}
	changing := gold.DeepCopy()
	changing.Status.ModifyVolumeStatus = &corev1.ModifyVolumeStatus{TargetVolumeAttributesClassName: "silver"}
	plain := &corev1.PersistentVolumeClaim{}
	for _, test := range []struct {
		spec *corev1.ResourceQuotaSpec
		obj  kinds.Object
		want bool
	}{
		{scope(corev1.ScopeSelectorOpIn, "gold"), gold, true},
		{scope(corev1.ScopeSelectorOpIn, "silver"), gold, false},
		{scope(corev1.ScopeSelectorOpIn, "silver"), changing, true},
		{scope(corev1.ScopeSelectorOpNotIn, "gold"), gold, false},
		{scope(corev1.ScopeSelectorOpNotIn, "gold"), plain, true},
		{scope(corev1.ScopeSelectorOpExists), plain, false},
		{scope(corev1.ScopeSelectorOpDoesNotExist), plain, true},
		{scope(corev1.ScopeSelectorOpExists), &corev1.Pod{}, false},
		{scope(corev1.ScopeSelectorOpDoesNotExist), &corev1.ConfigMap{}, false},
	} {
		if got := quota.InScope(test.spec, test.obj); got != test.want {
			t.Errorf("%v takes in %T: %v", test.spec.ScopeSelector.MatchExpressions, test.obj, got)
		}
	}
}
