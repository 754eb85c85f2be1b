package simulation_test

import (
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"
)

// claims is the promise of storage: a claim keeps its volume and a volume its
// claim, nothing in use is removed, and data goes only if its policy says so.
type claims struct {
	specs map[types.UID][]*appsv1.StatefulSet // by generation, from the observed one on
}

func (c *claims) check(s *state, e event) error {
	if e.obj == nil {
		switch o := e.old.(type) {
		case *corev1.PersistentVolumeClaim:
			return claimRemoved(s, o)
		case *corev1.PersistentVolume:
			return volumeRemoved(s, o)
		}
		return nil
	}
	switch o := e.obj.(type) {
	case *appsv1.StatefulSet:
		c.note(o)
	case *corev1.PersistentVolumeClaim:
		old, _ := e.old.(*corev1.PersistentVolumeClaim)
		return c.claimWritten(s, old, o)
	case *corev1.PersistentVolume:
		old, _ := e.old.(*corev1.PersistentVolume)
		return volumeWritten(s, old, o)
	case *corev1.Pod:
		if old, ok := e.old.(*corev1.Pod); ok && old.Spec.NodeName == "" && o.Spec.NodeName != "" {
			return podPlaced(s, o)
		}
	}
	return nil
}

func (c *claims) note(set *appsv1.StatefulSet) {
	if c.specs == nil {
		c.specs = make(map[types.UID][]*appsv1.StatefulSet)
	}
	all := c.specs[set.UID]
	if len(all) == 0 || all[len(all)-1].Generation != set.Generation {
		all = append(all, set)
	}
	for len(all) > 1 && all[1].Generation <= set.Status.ObservedGeneration {
		all = all[1:]
	}
	c.specs[set.UID] = all
}

func isBound(claim *corev1.PersistentVolumeClaim) bool {
	_, complete := claim.Annotations[volume.AnnBindCompleted]
	return complete && claim.Spec.VolumeName != ""
}

// holder is the claim that a volume is for, "" if it is for none.
func holder(pv *corev1.PersistentVolume) types.UID {
	if pv == nil || pv.Spec.ClaimRef == nil {
		return ""
	}
	return pv.Spec.ClaimRef.UID
}

func (c *claims) claimWritten(s *state, old, claim *corev1.PersistentVolumeClaim) error {
	if old != nil && isBound(old) && (!isBound(claim) || old.Spec.VolumeName != claim.Spec.VolumeName) {
		return fmt.Errorf("claim %s loses its volume %s", claim.Name, old.Spec.VolumeName)
	}
	if isBound(claim) && (old == nil || !isBound(old)) {
		for _, other := range all[*corev1.PersistentVolumeClaim](s) {
			if other.UID != claim.UID && other.Spec.VolumeName == claim.Spec.VolumeName && isBound(other) {
				return fmt.Errorf("volume %s is bound to claims %s and %s", claim.Spec.VolumeName, claim.Name, other.Name)
			}
		}
		if pv := find[*corev1.PersistentVolume](s, "", claim.Spec.VolumeName); pv != nil && holder(pv) != claim.UID {
			return fmt.Errorf("claim %s is bound to volume %s, which is for %q", claim.Name, pv.Name, holder(pv))
		}
	}
	if claim.DeletionTimestamp != nil && (old == nil || old.DeletionTimestamp == nil) {
		return s.claimDeleted(claim)
	}
	return c.ownersOf(s, old, claim)
}

// claimDeleted: a claim is deleted by a user, or because an owner is gone or
// going.
func (s *state) claimDeleted(claim *corev1.PersistentVolumeClaim) error {
	if s.asked[claim.UID] {
		return nil
	}
	for _, ref := range claim.OwnerReferences {
		if o, ok := s.objects[ref.UID]; !ok || o.GetDeletionTimestamp() != nil {
			return nil
		}
	}
	return fmt.Errorf("claim %s is deleted, and nobody has asked for it", claim.Name)
}

// ownersOf: a claim of a StatefulSet gets an owner with which it ends only if
// the retention policy says so.
func (c *claims) ownersOf(s *state, old, claim *corev1.PersistentVolumeClaim) error {
	for _, ref := range claim.OwnerReferences {
		if old != nil && slices.ContainsFunc(old.OwnerReferences, func(r metav1.OwnerReference) bool { return r.UID == ref.UID }) {
			continue
		}
		allowed, known := false, false
		for uid, specs := range c.specs {
			for _, set := range specs {
				pod, ofSet := strings.CutPrefix(claim.Name, claimTemplate+"-")
				n, numbered := strings.CutPrefix(pod, set.Name+"-")
				if !ofSet || !numbered || claim.Namespace != set.Namespace || s.objects[uid] == nil && ref.UID != uid {
					continue
				}
				known = true
				policy := ptr.Deref(set.Spec.PersistentVolumeClaimRetentionPolicy, appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{})
				switch ref.Kind {
				case "StatefulSet":
					allowed = allowed || policy.WhenDeleted == appsv1.DeletePersistentVolumeClaimRetentionPolicyType
				case "Pod":
					allowed = allowed || policy.WhenScaled == appsv1.DeletePersistentVolumeClaimRetentionPolicyType && ordinalIn(n) >= int(*set.Spec.Replicas)
				}
			}
		}
		if known && !allowed {
			return fmt.Errorf("claim %s is to end with %s %s, its policy says nothing of that", claim.Name, ref.Kind, ref.Name)
		}
	}
	return nil
}

// claimRemoved: no pod that may run uses the claim. One that was placed after
// the claim was deleted was placed by one who did not know yet: its node does not
// start it.
func claimRemoved(s *state, claim *corev1.PersistentVolumeClaim) error {
	for _, pod := range all[*corev1.Pod](s) {
		if usesClaim(pod, claim) && pod.Spec.NodeName != "" && !isFinished(pod) && s.placed[pod.UID].Before(s.deleting[claim.UID]) {
			return fmt.Errorf("claim %s is removed under pod %s", claim.Name, pod.Name)
		}
	}
	return nil
}

func usesClaim(pod *corev1.Pod, claim *corev1.PersistentVolumeClaim) bool {
	return pod.Namespace == claim.Namespace && slices.Contains(claimNames(pod), claim.Name)
}

func claimNames(pod *corev1.Pod) (names []string) {
	for i := range pod.Spec.Volumes {
		if c := pod.Spec.Volumes[i].PersistentVolumeClaim; c != nil {
			names = append(names, c.ClaimName)
		}
	}
	return names
}

func volumeRemoved(s *state, pv *corev1.PersistentVolume) error {
	if claim := s.claimOf(pv); claim != nil && isBound(claim) && claim.Spec.VolumeName == pv.Name {
		return fmt.Errorf("volume %s is removed under claim %s", pv.Name, claim.Name)
	}
	return nil
}

func volumeWritten(s *state, old, pv *corev1.PersistentVolume) error {
	if old == nil {
		return nil
	}
	if was := holder(old); was != "" && was != holder(pv) {
		if holder(pv) != "" {
			return fmt.Errorf("volume %s is taken from claim %s for %s", pv.Name, was, holder(pv))
		}
		if claim := s.claimOf(old); claim != nil && isBound(claim) && claim.Spec.VolumeName == pv.Name {
			return fmt.Errorf("volume %s is taken from claim %s, which is bound to it", pv.Name, claim.Name)
		}
	}
	if pv.DeletionTimestamp == nil || old.DeletionTimestamp != nil || s.asked[pv.UID] {
		return nil
	}
	if pv.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete {
		return fmt.Errorf("volume %s is deleted, its policy is %s", pv.Name, pv.Spec.PersistentVolumeReclaimPolicy)
	}
	if claim := s.claimOf(pv); claim != nil && claim.Spec.VolumeName == pv.Name {
		return fmt.Errorf("volume %s is deleted, its claim %s is there", pv.Name, claim.Name)
	}
	return nil
}

// podPlaced: a pod is placed where its volumes are. What the scheduler does not
// know yet of its claims it may get wrong.
func podPlaced(s *state, pod *corev1.Pod) error {
	node := find[*corev1.Node](s, "", pod.Spec.NodeName)
	for _, name := range claimNames(pod) {
		claim := find[*corev1.PersistentVolumeClaim](s, pod.Namespace, name)
		switch {
		case claim == nil:
			if gone, was := s.claimGone[pod.Namespace+"/"+name]; !was || s.now.Sub(gone) > lateness {
				return fmt.Errorf("pod %s is placed without its claim %s", pod.Name, name)
			}
			continue
		case claim.DeletionTimestamp != nil:
			if s.now.Sub(s.deleting[claim.UID]) > lateness {
				return fmt.Errorf("pod %s is placed with claim %s, which is being deleted", pod.Name, name)
			}
			continue
		case s.now.Sub(s.made[claim.UID]) <= lateness:
			continue // another of the name may have been there just now
		case !isBound(claim):
			return fmt.Errorf("pod %s is placed, its claim %s is not bound", pod.Name, name)
		}
		if pv := find[*corev1.PersistentVolume](s, "", claim.Spec.VolumeName); pv != nil && node != nil && volume.CheckNodeAffinity(pv, node.Labels) != nil {
			return fmt.Errorf("pod %s is placed on %s, its volume %s is elsewhere", pod.Name, node.Name, pv.Name)
		}
		if !slices.Contains(claim.Spec.AccessModes, corev1.ReadWriteOncePod) {
			continue
		}
		for _, other := range all[*corev1.Pod](s) {
			if other.UID != pod.UID && usesClaim(other, claim) && other.Spec.NodeName != "" && !isFinished(other) {
				return fmt.Errorf("pod %s is placed with claim %s, which pod %s has", pod.Name, name, other.Name)
			}
		}
	}
	return nil
}

// claimUnmet says what a claim lacks once all is at rest, "" if nothing.
func claimUnmet(s *state, claim *corev1.PersistentVolumeClaim) string {
	if claim.DeletionTimestamp != nil {
		for _, pod := range all[*corev1.Pod](s) {
			if usesClaim(pod, claim) && isActive(pod) {
				return "" // it has to wait
			}
		}
		return "is still being deleted"
	}
	for _, ref := range claim.OwnerReferences {
		if s.objects[ref.UID] == nil {
			return fmt.Sprintf("has lost its owner %s %s", ref.Kind, ref.Name)
		}
	}
	if !isBound(claim) {
		if *claim.Spec.StorageClassName == classNow {
			return "has no volume"
		}
		return ""
	}
	pv := find[*corev1.PersistentVolume](s, "", claim.Spec.VolumeName)
	switch {
	case pv == nil || holder(pv) != claim.UID || pv.Status.Phase != corev1.VolumeBound || claim.Status.Phase != corev1.ClaimBound:
		return fmt.Sprintf("is %s, its volume is %+v", claim.Status.Phase, pv)
	case claim.Status.Capacity.Storage().Cmp(*claim.Spec.Resources.Requests.Storage()) < 0:
		return fmt.Sprintf("has %s of %s", claim.Status.Capacity.Storage(), claim.Spec.Resources.Requests.Storage())
	}
	return ""
}

// volumeUnmet says the same of a volume.
func volumeUnmet(s *state, pv *corev1.PersistentVolume) string {
	claim := s.claimOf(pv)
	want := corev1.VolumeReleased
	switch {
	case holder(pv) == "":
		want = corev1.VolumeAvailable
	case claim != nil && claim.Spec.VolumeName == pv.Name:
		want = corev1.VolumeBound
	case pv.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete:
		return "is left, its claim is gone"
	}
	if pv.Status.Phase != want {
		return fmt.Sprintf("is %s, not %s", pv.Status.Phase, want)
	}
	if pv.DeletionTimestamp != nil && want != corev1.VolumeBound {
		return "is still being deleted"
	}
	return ""
}

// setUnmet says whether a StatefulSet lacks claims.
func setUnmet(s *state, set *appsv1.StatefulSet) string {
	if len(set.Spec.VolumeClaimTemplates) == 0 {
		return ""
	}
	for i := range *set.Spec.Replicas {
		name := fmt.Sprintf("%s-%s-%d", claimTemplate, set.Name, i)
		if claim := find[*corev1.PersistentVolumeClaim](s, set.Namespace, name); claim == nil || !isBound(claim) {
			return "has no bound claim " + name
		}
	}
	return ""
}
