// Package deviceclaim says which ResourceClaims a pod has, and whether a claim is
// the pod's to use. The Scheduler, the controllers and the agents agree by it.
package deviceclaim

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Ref is one of a pod's claims.
type Ref struct {
	// Name is what the pod calls it.
	Name string
	// Claim is the ResourceClaim's name; empty where the claim has yet to be
	// made, or where it was found that none is needed.
	Claim string
	// Template is what the claim is made of, "" for a claim that somebody made.
	Template string
	// Pending says that a claim has yet to be made.
	Pending bool
	// Own says that the claim is made for the pod alone, which must own it.
	Own bool
}

// Of returns the claims that a pod names, in their order.
func Of(pod *corev1.Pod) []Ref {
	refs := make([]Ref, 0, len(pod.Spec.ResourceClaims))
	for i := range pod.Spec.ResourceClaims {
		c := &pod.Spec.ResourceClaims[i]
		ref := Ref{Name: c.Name}
		switch {
		case c.ResourceClaimName != nil:
			ref.Claim = *c.ResourceClaimName
		case c.ResourceClaimTemplateName != nil:
			ref.Template, ref.Own = *c.ResourceClaimTemplateName, true
			ref.Claim, ref.Pending = madeClaim(pod, c.Name)
		}
		refs = append(refs, ref)
	}
	return refs
}

func madeClaim(pod *corev1.Pod, name string) (claim string, pending bool) {
	for _, s := range pod.Status.ResourceClaimStatuses {
		if s.Name != name {
			continue
		}
		if s.ResourceClaimName == nil {
			return "", false
		}
		return *s.ResourceClaimName, false
	}
	return "", true
}

// All returns what Of does and then, without a name, the claim that the Scheduler
// made for the pod's extended resources, if it did.
func All(pod *corev1.Pod) []Ref {
	refs := Of(pod)
	if e := pod.Status.ExtendedResourceClaimStatus; e != nil && e.ResourceClaimName != "" {
		refs = append(refs, Ref{Claim: e.ResourceClaimName, Own: true})
	}
	return refs
}

// Names returns the names of the ResourceClaims that a pod has, without those
// that have yet to be made.
func Names(pod *corev1.Pod) []string {
	var names []string
	for _, ref := range All(pod) {
		if ref.Claim != "" {
			names = append(names, ref.Claim)
		}
	}
	return names
}

// CheckOwner says why a claim that should have been made for a pod was not; nil
// if it was.
func CheckOwner(pod *corev1.Pod, claim *resourcev1.ResourceClaim) error {
	if metav1.IsControlledBy(claim, pod) {
		return nil
	}
	return fmt.Errorf("ResourceClaim %s/%s was not created for pod %s/%s (pod is not owner)", claim.Namespace, claim.Name, pod.Namespace, pod.Name)
}

// Consumer is a pod as a claim's reservation names it.
func Consumer(pod *corev1.Pod) resourcev1.ResourceClaimConsumerReference {
	return resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: pod.Name, UID: pod.UID}
}

// IsReserved says whether a claim is reserved for a pod.
func IsReserved(claim *resourcev1.ResourceClaim, pod *corev1.Pod) bool {
	return slices.ContainsFunc(claim.Status.ReservedFor, func(c resourcev1.ResourceClaimConsumerReference) bool { return c.UID == pod.UID })
}

// HasRoom says whether a claim can be reserved for one more consumer.
func HasRoom(claim *resourcev1.ResourceClaim) bool {
	return len(claim.Status.ReservedFor) < resourcev1.ResourceClaimReservedForMaxSize
}

// IsDone says whether a pod will never use its claims again: it has ended, or is
// being deleted before it was given a node.
func IsDone(pod *corev1.Pod) bool {
	ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	return ended || pod.DeletionTimestamp != nil && pod.Spec.NodeName == ""
}
