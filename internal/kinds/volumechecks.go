package kinds

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/podspec"
	"navarch.dev/navarch/internal/kinds/rule"
	"navarch.dev/navarch/internal/kinds/volumespec"
)

func validateVolume(v *corev1.PersistentVolume) field.ErrorList {
	s, at := &v.Spec, specPath()
	errs := rule.Join(
		volumespec.ValidateAccessModes(s.AccessModes, "", at.Child("accessModes")),
		validateCapacity(s.Capacity, at.Child("capacity")),
		rule.OneOf(s.PersistentVolumeReclaimPolicy, at.Child("persistentVolumeReclaimPolicy"),
			corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimRetain),
		validateVolumeAffinity(s.NodeAffinity, at.Child("nodeAffinity")),
		rule.OneMember(volumespec.PersistentSources(&s.PersistentVolumeSource), at, volumespec.NoSource, volumespec.MoreSources, func(source string, at *field.Path) field.ErrorList {
			return volumespec.ValidatePersistentSource(source, &s.PersistentVolumeSource, v.Name, at)
		}),
	)
	if sources := volumespec.PersistentSources(&s.PersistentVolumeSource); len(sources) > 0 && sources[0] == "local" && s.NodeAffinity == nil {
		errs = append(errs, field.Required(at.Child("nodeAffinity"), "Local volume requires node affinity"))
	}
	if s.HostPath != nil && path.Clean(s.HostPath.Path) == "/" && s.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		errs = append(errs, field.Forbidden(at.Child("persistentVolumeReclaimPolicy"), "may not be 'recycle' for a hostPath mount of '/'"))
	}
	errs = rule.Join(errs,
		volumespec.ValidateClassName(s.StorageClassName, at.Child("storageClassName")),
		volumespec.ValidateMode(s.VolumeMode, at.Child("volumeMode")))
	if s.VolumeAttributesClassName == nil {
		return errs
	}
	if class := at.Child("volumeAttributesClassName"); *s.VolumeAttributesClassName == "" {
		errs = append(errs, field.Required(class, "an empty string is disallowed"))
	} else {
		errs = append(errs, volumespec.ValidateClassName(*s.VolumeAttributesClassName, class)...)
	}
	if s.CSI == nil {
		errs = append(errs, field.Required(at.Child("csi"), "has to be specified when using volumeAttributesClassName"))
	}
	return errs
}

// validateInlineVolume: a volume that is no object of its own is a CSI driver's,
// and says nothing of claims and nodes.
func validateInlineVolume(s *corev1.PersistentVolumeSpec, at *field.Path) field.ErrorList {
	const context = "in the context of inline volumes"
	errs := rule.Join(
		rule.Forbid(at, "may not be specified "+context,
			rule.Set("claimRef", s.ClaimRef != nil), rule.Set("capacity", len(s.Capacity) > 0),
			rule.Set("nodeAffinity", s.NodeAffinity != nil), rule.Set("storageClassName", s.StorageClassName != "")),
		volumespec.ValidateAccessModes(s.AccessModes, "", at.Child("accessModes")),
		rule.OneMember(volumespec.PersistentSources(&s.PersistentVolumeSource), at, volumespec.NoSource, volumespec.MoreSources, func(source string, at *field.Path) field.ErrorList {
			return volumespec.ValidatePersistentSource(source, &s.PersistentVolumeSource, "", at)
		}))
	if s.CSI == nil {
		errs = append(errs, field.Required(at.Child("csi"), "has to be specified "+context))
	}
	if p := s.PersistentVolumeReclaimPolicy; p != "" && p != corev1.PersistentVolumeReclaimRetain {
		errs = append(errs, field.Forbidden(at.Child("persistentVolumeReclaimPolicy"), "may only be Retain "+context))
	}
	if s.Local != nil {
		errs = append(errs, field.Required(at.Child("nodeAffinity"), "Local volume requires node affinity"))
	}
	if s.VolumeMode != nil && *s.VolumeMode != corev1.PersistentVolumeFilesystem {
		errs = append(errs, field.Forbidden(at.Child("volumeMode"), "may not specify volumeMode other than Filesystem "+context))
	}
	return errs
}

func validateCapacity(capacity corev1.ResourceList, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(capacity) == 0 {
		errs = append(errs, field.Required(at, ""))
	}
	if _, ok := capacity[corev1.ResourceStorage]; !ok || len(capacity) > 1 {
		errs = append(errs, field.NotSupported(at, capacity, []corev1.ResourceName{corev1.ResourceStorage}))
	}
	return append(errs, rule.EachKey(capacity, at, func(_ corev1.ResourceName, q resource.Quantity, at *field.Path) field.ErrorList {
		return rule.Join(validateBasicAmount(q, at), rule.PositiveQuantity(q, at))
	})...)
}

func validateBasicAmount(q resource.Quantity, at *field.Path) field.ErrorList {
	if q.Value() >= 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(at, q.Value(), "must be a valid resource quantity")}
}

func validateVolumeAffinity(a *corev1.VolumeNodeAffinity, at *field.Path) field.ErrorList {
	switch {
	case a == nil:
		return nil
	case a.Required == nil:
		return field.ErrorList{field.Required(at.Child("required"), "must specify required node constraints")}
	}
	return podspec.ValidateNodeSelector(a.Required, at.Child("required"))
}

// validateVolumeUpdate: a volume stays where it is and what it is.
func validateVolumeUpdate(v, old *corev1.PersistentVolume) field.ErrorList {
	source, was := v.Spec.PersistentVolumeSource.DeepCopy(), &old.Spec.PersistentVolumeSource
	if source.CSI != nil && was.CSI != nil && was.CSI.ControllerExpandSecretRef == nil {
		source.CSI.ControllerExpandSecretRef = nil
	}
	var errs field.ErrorList
	if !equality.Semantic.DeepEqual(source, was) {
		errs = append(errs, field.Forbidden(specPath("persistentvolumesource"), fmt.Sprintf("spec.persistentvolumesource is immutable after creation\n%v", diff.Diff(was, source))))
	}
	errs = append(errs, rule.Immutable(v.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode"))...)
	if old.Spec.NodeAffinity != nil && !equality.Semantic.DeepEqual(renamedLabels(old.Spec.NodeAffinity, v.Spec.NodeAffinity), v.Spec.NodeAffinity) {
		errs = append(errs, field.Invalid(field.NewPath("nodeAffinity"), v.Spec.NodeAffinity, "field is immutable, except for updating from beta label to GA"))
	}
	if old.Spec.VolumeAttributesClassName != nil && v.Spec.VolumeAttributesClassName == nil {
		errs = append(errs, field.Forbidden(specPath("volumeAttributesClassName"), "update from non-nil value to nil is forbidden"))
	}
	return errs
}

// renamedLabels returns what was required of nodes, with those labels renamed
// that have been since, where now has the new names.
func renamedLabels(was, now *corev1.VolumeNodeAffinity) *corev1.VolumeNodeAffinity {
	renamed := map[string]string{
		corev1.LabelFailureDomainBetaZone: corev1.LabelTopologyZone, corev1.LabelFailureDomainBetaRegion: corev1.LabelTopologyRegion,
		"beta.kubernetes.io/os": corev1.LabelOSStable, "beta.kubernetes.io/arch": corev1.LabelArchStable,
		corev1.LabelInstanceType: corev1.LabelInstanceTypeStable,
	}
	out := was.DeepCopy()
	if out.Required == nil || now == nil || now.Required == nil {
		return out
	}
	for t := range min(len(out.Required.NodeSelectorTerms), len(now.Required.NodeSelectorTerms)) {
		before, after := out.Required.NodeSelectorTerms[t].MatchExpressions, now.Required.NodeSelectorTerms[t].MatchExpressions
		for e := range min(len(before), len(after)) {
			if renamed[before[e].Key] == after[e].Key {
				before[e].Key = after[e].Key
			}
		}
	}
	return out
}

// validateBetaClass: the class of a claim stays, also where it is named in the
// old way.
func validateBetaClass(annotations, old map[string]string) field.ErrorList {
	const class = corev1.BetaStorageClassAnnotation
	if annotations[class] == old[class] {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata", "annotations", class), annotations[class], "field is immutable")}
}

func validateClaimStatus(c, _ *corev1.PersistentVolumeClaim) field.ErrorList {
	at := field.NewPath("status")
	statuses, allocated := at.Child("allocatedResourceStatuses"), at.Child("allocatedResources")
	errs := rule.EachKey(c.Status.Capacity, at.Child("capacity"), func(_ corev1.ResourceName, q resource.Quantity, at *field.Path) field.ErrorList {
		return validateBasicAmount(q, at)
	})
	for _, name := range slices.Sorted(maps.Keys(c.Status.AllocatedResourceStatuses)) {
		errs = append(errs, validateClaimResource(name, statuses)...)
		switch c.Status.AllocatedResourceStatuses[name] {
		case corev1.PersistentVolumeClaimControllerResizeInProgress, corev1.PersistentVolumeClaimControllerResizeInfeasible, corev1.PersistentVolumeClaimNodeResizePending,
			corev1.PersistentVolumeClaimNodeResizeInProgress, corev1.PersistentVolumeClaimNodeResizeInfeasible:
		default:
			errs = append(errs, field.NotSupported(statuses, name, []corev1.ClaimResourceStatus{
				corev1.PersistentVolumeClaimControllerResizeInProgress, corev1.PersistentVolumeClaimControllerResizeInfeasible,
				corev1.PersistentVolumeClaimNodeResizeInProgress, corev1.PersistentVolumeClaimNodeResizeInfeasible, corev1.PersistentVolumeClaimNodeResizePending,
			}))
		}
	}
	return append(errs, rule.EachKey(c.Status.AllocatedResources, allocated, func(name corev1.ResourceName, q resource.Quantity, at *field.Path) field.ErrorList {
		if errs := validateClaimResource(name, allocated); len(errs) > 0 {
			return errs
		}
		return validateBasicAmount(q, at)
	})...)
}

// validateClaimResource: of Kubernetes' own resources a claim has storage alone.
func validateClaimResource(name corev1.ResourceName, at *field.Path) field.ErrorList {
	if errs := rule.Qualified(name, at); len(errs) > 0 {
		return errs
	}
	native := !strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
	if native && name != corev1.ResourceStorage {
		return field.ErrorList{field.NotSupported(at, name, []corev1.ResourceName{corev1.ResourceStorage})}
	}
	return nil
}
