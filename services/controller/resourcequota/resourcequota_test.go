package resourcequota_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/resourcequota"
)

func quotaOf(hard corev1.ResourceList) *corev1.ResourceQuota {
	return &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: hard}}
}

func pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i", Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m")},
		}}}},
	}
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
}

// awaitUsed waits until the quota's use is as described by "name=amount".
func awaitUsed(c *controllertest.Cluster, want ...string) {
	controllertest.Await(c, fmt.Sprint("used ", want), func(all []*corev1.ResourceQuota) bool {
		if len(all) != 1 || len(all[0].Status.Hard) != len(all[0].Spec.Hard) {
			return false
		}
		for _, w := range want {
			found := false
			for name, amount := range all[0].Status.Used {
				found = found || w == string(name)+"="+amount.String()
			}
			if !found {
				return false
			}
		}
		return true
	})
}

func TestCountFollowsTheObjects(t *testing.T) {
	c := controllertest.New(t)
	c.Apply(pod("early"), configMap("early"))
	c.Start(c.Controller(resourcequota.New(c.Deps, c.Inventory)))
	c.Apply(quotaOf(corev1.ResourceList{
		corev1.ResourcePods: resource.MustParse("3"), corev1.ResourceRequestsCPU: resource.MustParse("1"),
		"count/configmaps": resource.MustParse("2"), "count/deployments.apps": resource.MustParse("1"),
	}))
	awaitUsed(c, "pods=1", "requests.cpu=250m", "count/configmaps=1", "count/deployments.apps=0")
	c.Apply(pod("a"), pod("b"), configMap("a"))
	awaitUsed(c, "pods=3", "requests.cpu=750m", "count/configmaps=2")
	if err := c.Create(t.Context(), pod("c")); !apierrors.IsForbidden(err) {
		t.Fatalf("a fourth pod was answered with %v", err)
	}
	c.Remove(pod("a"), "")
	c.Remove(configMap("early"), "")
	awaitUsed(c, "pods=2", "count/configmaps=1")
	if err := c.Finish(t.Context(), pod("b"), corev1.PodSucceeded); err != nil {
		t.Fatal(err)
	}
	awaitUsed(c, "pods=1", "requests.cpu=250m")
	controllertest.Change(c, quotaOf(nil), "", func(q *corev1.ResourceQuota) {
		q.Spec.Hard = corev1.ResourceList{corev1.ResourcePods: resource.MustParse("1")}
	})
	awaitUsed(c, "pods=1")
}

// What is charged is believed until a quota is counted anyhow, or else a namespace would
// be counted as often as it grows.
func TestChargesAreNoReasonToCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := controllertest.New(t)
		c.Start(c.Controller(resourcequota.New(c.Deps, c.Inventory)))
		c.Apply(pod("a"), quotaOf(corev1.ResourceList{corev1.ResourcePods: resource.MustParse("9")}))
		pass := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		pass(time.Minute)
		awaitUsed(c, "pods=1")
		controllertest.Change(c, quotaOf(nil), "status", func(q *corev1.ResourceQuota) { q.Status.Used[corev1.ResourcePods] = resource.MustParse("5") })
		pass(time.Minute)
		awaitUsed(c, "pods=5")
		pass(5 * time.Minute)
		awaitUsed(c, "pods=1")
	})
}

// Claims of devices count by how many they are for, and for the resource that their
// class stands for, also when it comes to do so.
func TestCountOfDevices(t *testing.T) {
	c := controllertest.New(t)
	c.Start(c.Controller(resourcequota.New(c.Deps, c.Inventory)))
	claim := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "c"}, Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{
		Requests: []resourcev1.DeviceRequest{{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu", Count: 3}}},
	}}}
	class := &resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}}
	c.Apply(claim, class, quotaOf(corev1.ResourceList{
		"count/resourceclaims.resource.k8s.io": resource.MustParse("9"), "gpu.deviceclass.resource.k8s.io/devices": resource.MustParse("9"),
		"nic.deviceclass.resource.k8s.io/devices": resource.MustParse("9"), "requests.example.com/gpu": resource.MustParse("9"),
	}))
	awaitUsed(c, "count/resourceclaims.resource.k8s.io=1", "gpu.deviceclass.resource.k8s.io/devices=3", "nic.deviceclass.resource.k8s.io/devices=0", "requests.example.com/gpu=0")
	controllertest.Change(c, class, "", func(d *resourcev1.DeviceClass) { d.Spec.ExtendedResourceName = ptr.To("example.com/gpu") })
	awaitUsed(c, "requests.example.com/gpu=3")
	c.Remove(claim, "")
	awaitUsed(c, "gpu.deviceclass.resource.k8s.io/devices=0", "requests.example.com/gpu=0")
}

func TestQuotaThatIsBeingDeletedIsCounted(t *testing.T) {
	c := controllertest.New(t)
	c.Start(c.Controller(resourcequota.New(c.Deps, c.Inventory)))
	q := quotaOf(corev1.ResourceList{corev1.ResourcePods: resource.MustParse("3")})
	c.Apply(q, pod("a"))
	awaitUsed(c, "pods=1")
	c.Remove(q, metav1.DeletePropagationForeground)
	c.Remove(pod("a"), "")
	awaitUsed(c, "pods=0")
}
