package statefulset

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"navarch.dev/navarch/services/controller/runner"
)

func claimName(template, pod string) string { return template + "-" + pod }

// claimants returns the sets that a claim is for, by its name, which is a
// template's, a set's and an ordinal. Each of them may have dashes, so there may
// be several.
func (r *reconciler) claimants(claim *corev1.PersistentVolumeClaim) []string {
	var keys []string
	end := strings.LastIndexByte(claim.Name, '-')
	for i := range max(end, 0) {
		if claim.Name[i] != '-' {
			continue
		}
		template, pod := claim.Name[:i], claim.Name[i+1:]
		set, ok := r.sets.Get(claim.Namespace, claim.Name[i+1:end])
		if !ok || !slices.ContainsFunc(set.Spec.VolumeClaimTemplates, func(t corev1.PersistentVolumeClaim) bool { return t.Name == template }) {
			continue
		}
		if _, ours := ordinalOf(set, pod); ours {
			keys = append(keys, runner.Self(set)...)
		}
	}
	return keys
}

// claimsOf returns the claims of a pod that exist.
func (ro *rollout) claimsOf(pod string) []*corev1.PersistentVolumeClaim {
	var all []*corev1.PersistentVolumeClaim
	for _, t := range ro.set.Spec.VolumeClaimTemplates {
		if claim, ok := ro.claims.Get(ro.set.Namespace, claimName(t.Name, pod)); ok {
			all = append(all, claim)
		}
	}
	return all
}

// hasInheritedClaims says whether a claim of the pod that is to be made
// belongs to an earlier pod of its name, and so is about to be deleted with
// it. The new pod must wait for a claim of its own.
func (ro *rollout) hasInheritedClaims(pod string) bool {
	if ro.retention().WhenScaled == appsv1.RetainPersistentVolumeClaimRetentionPolicyType {
		return false
	}
	return slices.ContainsFunc(ro.claimsOf(pod), func(claim *corev1.PersistentVolumeClaim) bool {
		return slices.ContainsFunc(claim.OwnerReferences, func(ref metav1.OwnerReference) bool { return isPod(ref, pod) })
	})
}

func isPod(ref metav1.OwnerReference, name string) bool {
	return ref.APIVersion == "v1" && ref.Kind == "Pod" && ref.Name == name
}

// retention says what becomes of claims; what is not said is to keep them.
func (ro *rollout) retention() appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy {
	keep := appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	policy := appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenDeleted: keep, WhenScaled: keep}
	if p := ro.set.Spec.PersistentVolumeClaimRetentionPolicy; p != nil {
		if p.WhenDeleted != "" {
			policy.WhenDeleted = p.WhenDeleted
		}
		if p.WhenScaled != "" {
			policy.WhenScaled = p.WhenScaled
		}
	}
	return policy
}

// claimOwners returns the owner references that a claim should have. Through
// them the garbage collector deletes it: with the set, or with the surplus pod
// that had it, which is nil for a claim that is needed. References of others
// stay; a claim that another controller has is left to that.
func (ro *rollout) claimOwners(claim *corev1.PersistentVolumeClaim, surplus *corev1.Pod) []metav1.OwnerReference {
	set, pod := ro.sets.Kind().GVK(), corev1.SchemeGroupVersion.WithKind("Pod")
	isOurs := func(ref metav1.OwnerReference) bool {
		return ref.UID == ro.set.UID || (surplus != nil && ref.UID == surplus.UID) || ro.isFormer(claim, ref)
	}
	others := slices.DeleteFunc(slices.Clone(claim.OwnerReferences), isOurs)
	policy := ro.retention()
	switch {
	case metav1.GetControllerOfNoCopy(&metav1.ObjectMeta{OwnerReferences: others}) != nil:
		return others
	case surplus != nil && policy.WhenScaled == appsv1.DeletePersistentVolumeClaimRetentionPolicyType:
		return append(others, *metav1.NewControllerRef(surplus, pod))
	case policy.WhenDeleted == appsv1.DeletePersistentVolumeClaimRetentionPolicyType &&
		(surplus == nil || policy.WhenScaled == appsv1.RetainPersistentVolumeClaimRetentionPolicyType):
		return append(others, *metav1.NewControllerRef(ro.set, set))
	}
	return others
}

// isFormer says whether a reference names the pod of a slot that was surplus
// and is wanted again.
func (ro *rollout) isFormer(claim *corev1.PersistentVolumeClaim, ref metav1.OwnerReference) bool {
	return slices.ContainsFunc(ro.slots, func(pod *corev1.Pod) bool {
		return pod != nil && pod.UID == ref.UID && strings.HasSuffix(claim.Name, "-"+pod.Name)
	})
}

// ownClaims gives every claim the owners that the retention policy asks for.
// It goes before pods are deleted: a claim is to end with its surplus pod.
func (ro *rollout) ownClaims(ctx context.Context) (goOn bool, err error) {
	for _, pod := range ro.slots {
		if pod == nil || pod.DeletionTimestamp != nil {
			continue
		}
		if pod.Status.Phase == corev1.PodPending {
			if err := ro.ensureClaims(ctx, pod.Name); err != nil {
				return false, err
			}
		}
		if err := ro.own(ctx, pod.Name, nil); err != nil {
			return false, err
		}
	}
	for _, pod := range ro.surplus {
		if err := ro.own(ctx, pod.Name, pod); err != nil {
			return false, err
		}
	}
	return true, nil
}

func (ro *rollout) own(ctx context.Context, pod string, surplus *corev1.Pod) error {
	for _, claim := range ro.claimsOf(pod) {
		owners := ro.claimOwners(claim, surplus)
		if equality.Semantic.DeepEqual(owners, claim.OwnerReferences) {
			continue
		}
		owned := claim.DeepCopy()
		owned.OwnerReferences = owners
		err := ro.client.Update(ctx, owned)
		switch {
		case err == nil:
			ro.claimed.Wrote(cache.MetaObjectToName(ro.set).String(), owned)
		case !apierrors.IsNotFound(err):
			return fmt.Errorf("set the owners of claim %s: %w", claim.Name, err)
		}
	}
	return nil
}

// ensureClaims creates the claims of a pod that are missing.
func (ro *rollout) ensureClaims(ctx context.Context, pod string) error {
	for _, t := range ro.set.Spec.VolumeClaimTemplates {
		if err := ro.ensureClaim(ctx, t.DeepCopy(), pod); err != nil {
			return err
		}
	}
	return nil
}

// ensureClaim creates a pod's claim. Claims outlive their pods: the next pod
// of the name finds its data.
func (ro *rollout) ensureClaim(ctx context.Context, claim *corev1.PersistentVolumeClaim, pod string) error {
	claim.Namespace, claim.Name = ro.set.Namespace, claimName(claim.Name, pod)
	if have, ok := ro.claims.Get(claim.Namespace, claim.Name); ok {
		if have.DeletionTimestamp != nil {
			return fmt.Errorf("pvc %s is being deleted", have.Name)
		}
		return nil
	}
	claim.OwnerReferences = ro.claimOwners(claim, nil)
	claim.Labels = maps.Clone(claim.Labels)
	if claim.Labels == nil {
		claim.Labels = make(map[string]string)
	}
	if s := ro.set.Spec.Selector; s != nil {
		maps.Copy(claim.Labels, s.MatchLabels)
	}
	err := ro.client.Create(ctx, claim)
	switch {
	case apierrors.IsAlreadyExists(err):
		return nil
	case err != nil:
		ro.events.Event(ro.set, corev1.EventTypeWarning, "FailedCreate", fmt.Sprintf("create Claim %s for Pod %s failed: %v", claim.Name, pod, err))
		return fmt.Errorf("create claim %s: %w", claim.Name, err)
	}
	ro.claimed.Wrote(cache.MetaObjectToName(ro.set).String(), claim)
	ro.events.Event(ro.set, corev1.EventTypeNormal, "SuccessfulCreate", fmt.Sprintf("create Claim %s Pod %s success", claim.Name, pod))
	return nil
}
