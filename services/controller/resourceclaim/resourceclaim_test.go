package resourceclaim_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/resourceclaim"
)

func spec() resourcev1.ResourceClaimSpec {
	return resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{{
		Name: "r", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu"},
	}}}}
}

func template() *resourcev1.ResourceClaimTemplate {
	return &resourcev1.ResourceClaimTemplate{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "t"}, Spec: resourcev1.ResourceClaimTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "x"}, Annotations: map[string]string{"a": "b"}}, Spec: spec(),
	}}
}

func pod(name, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PodSpec{
			NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "i"}},
			ResourceClaims: []corev1.PodResourceClaim{{Name: "own", ResourceClaimTemplateName: ptr.To("t")}, {Name: "shared", ResourceClaimName: ptr.To("shared")}},
		},
	}
}

func start(t *testing.T) *controllertest.Cluster {
	t.Helper()
	c := controllertest.New(t)
	c.Start(c.Controller(resourceclaim.New(c.Deps)), c.Controller(resourceclaim.NewRelease(c.Deps)))
	return c
}

// named waits until a pod's status names the claim that was made for it.
func named(c *controllertest.Cluster, name string) string {
	var claim string
	controllertest.Await(c, "the name of the claim of "+name, func(all []*corev1.Pod) bool {
		for _, p := range all {
			if p.Name == name && len(p.Status.ResourceClaimStatuses) == 1 {
				claim = *p.Status.ResourceClaimStatuses[0].ResourceClaimName
			}
		}
		return claim != ""
	})
	return claim
}

// allocate does what the Scheduler does.
func allocate(c *controllertest.Cluster, name string, users ...*corev1.Pod) *resourcev1.ResourceClaim {
	claim := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	controllertest.Change(c, claim, "", func(r *resourcev1.ResourceClaim) { r.Finalizers = []string{resourcev1.Finalizer} })
	controllertest.Change(c, claim, "status", func(r *resourcev1.ResourceClaim) {
		r.Status.Allocation = &resourcev1.AllocationResult{}
		for _, user := range users {
			r.Status.ReservedFor = append(r.Status.ReservedFor, resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: user.Name, UID: user.UID})
		}
	})
	return claim
}

func awaitClaim(c *controllertest.Cluster, what, name string, holds func(*resourcev1.ResourceClaim) bool) {
	controllertest.Await(c, what, func(all []*resourcev1.ResourceClaim) bool {
		return slices.ContainsFunc(all, func(r *resourcev1.ResourceClaim) bool { return r.Name == name && holds(r) })
	})
}

func TestClaimOfAPod(t *testing.T) {
	c := start(t)
	p := pod("p", "")
	c.Apply(p)
	c.AwaitEvent(`Warning FailedResourceClaimCreation p: PodResourceClaim own: resource claim template "t": not found`)
	c.Apply(template())
	name := named(c, "p")
	claim := &resourcev1.ResourceClaim{}
	if err := c.Get(t.Context(), "default", name, claim); err != nil {
		t.Fatal(err)
	}
	if !metav1.IsControlledBy(claim, p) || claim.Labels["app"] != "x" || claim.Annotations["a"] != "b" || claim.Annotations[resourcev1.PodResourceClaimAnnotation] != "own" {
		t.Errorf("the claim is %+v", claim.ObjectMeta)
	}
	c.Remove(claim, "")
	controllertest.Await(c, "another claim", func(all []*resourcev1.ResourceClaim) bool { return len(all) == 1 && all[0].UID != claim.UID })
	controllertest.Await(c, "the other claim's name", func(all []*corev1.Pod) bool {
		s := all[0].Status.ResourceClaimStatuses
		return len(s) == 1 && *s[0].ResourceClaimName != name
	})
}

// A claim whose name was not written to the status is found again.
func TestClaimThatWasMadeBefore(t *testing.T) {
	c := controllertest.New(t)
	p := pod("p", "")
	c.Apply(template(), p)
	before := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "before", Annotations: map[string]string{resourcev1.PodResourceClaimAnnotation: "own"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "p", UID: p.UID, Controller: ptr.To(true)}}}, Spec: spec()}
	c.Apply(before)
	c.Start(c.Controller(resourceclaim.New(c.Deps)))
	if name := named(c, "p"); name != "before" {
		t.Errorf("the pod was given the claim %s", name)
	}
}

// Devices are given up when the last pod that has reserved them has ended, and a
// claim that was made for it goes with it.
func TestReleaseWhenPodsEnd(t *testing.T) {
	c := start(t)
	p, q := pod("p", "n"), pod("q", "n")
	c.Apply(template(), p, q, &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "shared"}, Spec: spec()})
	own := named(c, "p")
	allocate(c, own, p)
	allocate(c, "shared", p, q)
	controllertest.Change(c, p, "status", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
	controllertest.Await(c, "the end of the ended pod's own claim", func(all []*resourcev1.ResourceClaim) bool {
		return !slices.ContainsFunc(all, func(r *resourcev1.ResourceClaim) bool { return r.Name == own })
	})
	awaitClaim(c, "the claim with one user", "shared", func(r *resourcev1.ResourceClaim) bool {
		return len(r.Status.ReservedFor) == 1 && r.Status.ReservedFor[0].UID == q.UID && r.Status.Allocation != nil
	})
	if err := c.End(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	awaitClaim(c, "the free claim", "shared", func(r *resourcev1.ResourceClaim) bool {
		return len(r.Status.ReservedFor) == 0 && r.Status.Allocation == nil && len(r.Finalizers) == 0
	})
}

// A claim that is deleted stays while a pod has it reserved.
func TestDeletedClaimWaitsForItsPods(t *testing.T) {
	c := start(t)
	q := pod("q", "n")
	q.Spec.ResourceClaims = q.Spec.ResourceClaims[1:]
	c.Apply(q, &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "shared"}, Spec: spec()},
		&resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "idle"}, Spec: spec()})
	c.Remove(allocate(c, "shared", q), "")
	c.Remove(allocate(c, "idle"), "")
	left := controllertest.Await(c, "the idle claim's end", func(all []*resourcev1.ResourceClaim) bool { return len(all) == 1 })
	if left[0].Name != "shared" || left[0].Status.Allocation == nil {
		t.Errorf("what is left is %s, allocated %v", left[0].Name, left[0].Status.Allocation)
	}
	if err := c.End(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	controllertest.Await(c, "the claim's end", func(all []*resourcev1.ResourceClaim) bool { return len(all) == 0 })
}

// Who puts a pod on a node without asking the Scheduler has its claims reserved,
// if they are allocated.
func TestClaimsOfPodsThatWereNotScheduled(t *testing.T) {
	c := start(t)
	q := pod("q", "n")
	q.Spec.ResourceClaims = q.Spec.ResourceClaims[1:]
	c.Apply(q, &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "shared"}, Spec: spec()})
	allocate(c, "shared")
	awaitClaim(c, "the reservation", "shared", func(r *resourcev1.ResourceClaim) bool {
		return len(r.Status.ReservedFor) == 1 && r.Status.ReservedFor[0].UID == q.UID
	})
}
