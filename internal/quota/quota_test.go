package quota_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
			"nic.deviceclass.resource.k8s.io/devices", "32", "tpu.deviceclass.resource.k8s.io/devices", "1")},
	} {
		t.Run(test.name, func(t *testing.T) {
			kind, err := kinds.Default().ForObject(test.obj)
			if err != nil {
				t.Fatal(err)
			}
			if got := quota.Usage(kind, test.obj, now); !quota.Equal(got, test.want) {
				t.Errorf("got  %s\nwant %s", quota.Format(got), quota.Format(test.want))
			}
		})
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
