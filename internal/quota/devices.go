package quota

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/kinds"
)

// isOfDevices says whether a resource counts the devices of a class.
func isOfDevices(name corev1.ResourceName) bool {
	return strings.HasSuffix(string(name), corev1.ResourceClaimsPerClass)
}

// addDevices counts what a claim can be given at most of each class: of
// alternatives the one that has the most, of all devices as many as an
// allocation can hold.
func addDevices(used corev1.ResourceList, c *resourcev1.ResourceClaim) {
	for i := range c.Spec.Devices.Requests {
		request := &c.Spec.Devices.Requests[i]
		most := map[string]int64{}
		for _, sub := range request.FirstAvailable {
			most[sub.DeviceClassName] = max(most[sub.DeviceClassName], mostDevices(sub.AllocationMode, sub.Count))
		}
		if e := request.Exactly; e != nil {
			most[e.DeviceClassName] = mostDevices(e.AllocationMode, e.Count)
		}
		for class, n := range most {
			Add(used, corev1.ResourceList{corev1.ResourceName(class + corev1.ResourceClaimsPerClass): *resource.NewQuantity(n, resource.DecimalSI)})
		}
	}
}

// Devices is what is known of devices beyond the claims for them.
type Devices interface {
	// ExtendedResource returns the extended resource that a class stands for by its
	// own word (spec.extendedResourceName); "" is none.
	ExtendedResource(class string) string
	// Requester returns the pod whose requests a claim was made for by the
	// Scheduler (RequesterOf); nil if it is no such claim.
	Requester(claim *resourcev1.ResourceClaim) *corev1.Pod
}

// addExtended counts devices as the extended resources that their classes stand for,
// but for what a pod that requests them counts for itself.
func addExtended(used corev1.ResourceList, c *resourcev1.ResourceClaim, now time.Time, devices Devices) {
	extended := corev1.ResourceList{}
	for name, n := range used {
		class, ok := strings.CutSuffix(string(name), corev1.ResourceClaimsPerClass)
		if !ok {
			continue
		}
		Add(extended, corev1.ResourceList{corev1.ResourceName(corev1.ResourceImplicitExtendedClaimsPerClass + class): n})
		if resource := devices.ExtendedResource(class); resource != "" {
			Add(extended, corev1.ResourceList{corev1.ResourceName(corev1.DefaultResourceRequestsPrefix + resource): n})
		}
	}
	counted := corev1.ResourceList{}
	if pod := devices.Requester(c); pod != nil && !isSpent(pod, now) {
		addPod(counted, pod)
	}
	for name, n := range extended {
		if n.Sub(counted[name]); n.Sign() > 0 {
			used[name] = n
		}
	}
}

// Requester returns the pod for whose extended resources a claim was made, nil if
// there is none, by what finds a pod and the claims that say they are for it
// (kinds.ClaimedFor).
func Requester(claim *resourcev1.ResourceClaim, find func(namespace, name string) (*corev1.Pod, bool), claims func(*corev1.Pod) []*resourcev1.ResourceClaim) *corev1.Pod {
	if kinds.ClaimedFor(claim) == "" {
		return nil
	}
	pod, ok := find(claim.Namespace, metav1.GetControllerOfNoCopy(claim).Name)
	if !ok || !RequesterOf(claim, pod, func() []*resourcev1.ResourceClaim { return claims(pod) }) {
		return nil
	}
	return pod
}

// RequesterOf says whether a claim was made for the extended resources of a pod,
// which owns it. Anybody can write a claim that says so: of several only the one
// counts that the pod's status names or, as long as it names none, the first.
func RequesterOf(claim *resourcev1.ResourceClaim, pod *corev1.Pod, claims func() []*resourcev1.ResourceClaim) bool {
	if !isFor(claim, pod) {
		return false
	}
	if s := pod.Status.ExtendedResourceClaimStatus; s != nil {
		return s.ResourceClaimName == claim.Name || s.ResourceClaimName == ""
	}
	return !slices.ContainsFunc(claims(), func(other *resourcev1.ResourceClaim) bool {
		return other.UID != claim.UID && isFor(other, pod) && precedes(other, claim)
	})
}

func isFor(claim *resourcev1.ResourceClaim, pod *corev1.Pod) bool {
	return kinds.ClaimedFor(claim) == pod.UID && pod.UID != "" && metav1.GetControllerOfNoCopy(claim).Name == pod.Name
}

func precedes(a, b *resourcev1.ResourceClaim) bool {
	if a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.Name < b.Name
	}
	return a.CreationTimestamp.Before(&b.CreationTimestamp)
}

func mostDevices(mode resourcev1.DeviceAllocationMode, count int64) int64 {
	switch mode {
	case resourcev1.DeviceAllocationModeExactCount:
		return count
	case resourcev1.DeviceAllocationModeAll:
		return resourcev1.AllocationResultsMaxSize
	}
	return 0
}
