package kinds

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/podspec"
	"navarch.dev/navarch/internal/kinds/rule"
)

func volumeColumns() []Column {
	doc := corev1.PersistentVolumeSpec{}.SwaggerDoc()
	return columns(
		text("Capacity", doc["capacity"], func(v *corev1.PersistentVolume) string { return storageOf(v.Spec.Capacity) }),
		text("Access Modes", doc["accessModes"], func(v *corev1.PersistentVolume) string { return accessModes(v.Spec.AccessModes) }),
		text("Reclaim Policy", doc["persistentVolumeReclaimPolicy"], func(v *corev1.PersistentVolume) string {
			return string(v.Spec.PersistentVolumeReclaimPolicy)
		}),
		text("Status", corev1.PersistentVolumeStatus{}.SwaggerDoc()["phase"], func(v *corev1.PersistentVolume) string {
			return phaseOf(v, string(v.Status.Phase))
		}),
		text("Claim", doc["claimRef"], func(v *corev1.PersistentVolume) string {
			if v.Spec.ClaimRef == nil {
				return ""
			}
			return v.Spec.ClaimRef.Namespace + "/" + v.Spec.ClaimRef.Name
		}),
		text("StorageClass", doc["storageClassName"], func(v *corev1.PersistentVolume) string {
			if class, ok := v.Annotations[corev1.BetaStorageClassAnnotation]; ok {
				return class
			}
			return v.Spec.StorageClassName
		}),
		text("VolumeAttributesClass", doc["volumeAttributesClassName"], func(v *corev1.PersistentVolume) string {
			return pointerOr(v.Spec.VolumeAttributesClassName, "<unset>")
		}),
		text("Reason", corev1.PersistentVolumeStatus{}.SwaggerDoc()["reason"], func(v *corev1.PersistentVolume) string { return v.Status.Reason }),
		ageColumn(),
		wide(text("VolumeMode", doc["volumeMode"], func(v *corev1.PersistentVolume) string { return volumeMode(v.Spec.VolumeMode) })),
	)
}

func volumeMode(m *corev1.PersistentVolumeMode) string { return string(pointerOr(m, "<unset>")) }

func phaseOf(o Object, phase string) string {
	if o.GetDeletionTimestamp() != nil {
		return "Terminating"
	}
	return phase
}

func storageOf(list corev1.ResourceList) string {
	size, ok := list[corev1.ResourceStorage]
	if !ok {
		return ""
	}
	return size.String()
}

// accessModes abbreviates the modes in the order that users know.
func accessModes(modes []corev1.PersistentVolumeAccessMode) string {
	var out []string
	for _, m := range []struct {
		mode  corev1.PersistentVolumeAccessMode
		short string
	}{
		{corev1.ReadWriteOnce, "RWO"}, {corev1.ReadOnlyMany, "ROX"}, {corev1.ReadWriteMany, "RWX"}, {corev1.ReadWriteOncePod, "RWOP"},
	} {
		if slices.Contains(modes, m.mode) {
			out = append(out, m.short)
		}
	}
	return strings.Join(out, ",")
}

func volumeStrategy() Strategy {
	return statusOnly(
		func(v *corev1.PersistentVolume) *corev1.PersistentVolumeSpec { return &v.Spec },
		func(v *corev1.PersistentVolume) *corev1.PersistentVolumeStatus { return &v.Status },
		rules[*corev1.PersistentVolume]{
			create: func(v *corev1.PersistentVolume) { v.Status.Phase = corev1.VolumePending },
			defaults: func(v *corev1.PersistentVolume) {
				setDefault(&v.Status.Phase, corev1.VolumePending)
				setDefault(&v.Spec.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimRetain)
				setPointer(&v.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
				if v.Spec.HostPath != nil {
					setPointer(&v.Spec.HostPath.Type, corev1.HostPathUnset)
				}
			},
			validate: validateVolume,
			validateUpdate: func(v, old *corev1.PersistentVolume) field.ErrorList {
				if equality.Semantic.DeepEqual(v.Spec.PersistentVolumeSource, old.Spec.PersistentVolumeSource) {
					return nil
				}
				return field.ErrorList{field.Forbidden(specPath("persistentvolumesource"), "spec.persistentvolumesource is immutable after creation")}
			},
		})
}

func validateVolume(v *corev1.PersistentVolume) field.ErrorList {
	errs := rule.Join(
		validateAccessModes(v.Spec.AccessModes),
		rule.OneOf(v.Spec.PersistentVolumeReclaimPolicy, specPath("persistentVolumeReclaimPolicy"),
			corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain),
	)
	if len(v.Spec.Capacity) == 0 {
		errs = append(errs, field.Required(specPath("capacity"), ""))
	}
	if _, ok := v.Spec.Capacity[corev1.ResourceStorage]; !ok || len(v.Spec.Capacity) > 1 {
		errs = append(errs, field.NotSupported(specPath("capacity"), v.Spec.Capacity, []corev1.ResourceName{corev1.ResourceStorage}))
	}
	for name, size := range v.Spec.Capacity {
		errs = append(errs, podspec.ValidateQuantity(name, size, specPath("capacity").Key(string(name)))...)
	}
	if v.Spec.NodeAffinity != nil && v.Spec.NodeAffinity.Required != nil {
		errs = append(errs, podspec.ValidateNodeSelector(v.Spec.NodeAffinity.Required, specPath("nodeAffinity", "required"))...)
	}
	if equality.Semantic.DeepEqual(v.Spec.PersistentVolumeSource, corev1.PersistentVolumeSource{}) {
		errs = append(errs, field.Required(specPath(), "must specify a volume type"))
	}
	if v.Spec.Local != nil && v.Spec.NodeAffinity == nil {
		errs = append(errs, field.Required(field.NewPath("metadata", "annotations"), "Local volume requires node affinity"))
	}
	return errs
}

func validateAccessModes(modes []corev1.PersistentVolumeAccessMode) field.ErrorList {
	path := specPath("accessModes")
	if len(modes) == 0 {
		return field.ErrorList{field.Required(path, "at least 1 access mode is required")}
	}
	var errs field.ErrorList
	for _, m := range modes {
		errs = append(errs, rule.OneOf(m, path, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod)...)
	}
	if slices.Contains(modes, corev1.ReadWriteOncePod) && len(modes) > 1 {
		errs = append(errs, field.Forbidden(path, "may not use ReadWriteOncePod with other access modes"))
	}
	return errs
}

func claimColumns() []Column {
	spec, status := corev1.PersistentVolumeClaimSpec{}.SwaggerDoc(), corev1.PersistentVolumeClaimStatus{}.SwaggerDoc()
	return columns(
		text("Status", status["phase"], func(c *corev1.PersistentVolumeClaim) string { return phaseOf(c, string(c.Status.Phase)) }),
		text("Volume", spec["volumeName"], func(c *corev1.PersistentVolumeClaim) string { return c.Spec.VolumeName }),
		text("Capacity", status["capacity"], func(c *corev1.PersistentVolumeClaim) string {
			if c.Spec.VolumeName == "" {
				return ""
			}
			return storageOf(c.Status.Capacity)
		}),
		text("Access Modes", status["accessModes"], func(c *corev1.PersistentVolumeClaim) string {
			if c.Spec.VolumeName == "" {
				return ""
			}
			return accessModes(c.Status.AccessModes)
		}),
		text("StorageClass", spec["storageClassName"], func(c *corev1.PersistentVolumeClaim) string {
			if class, ok := c.Annotations[corev1.BetaStorageClassAnnotation]; ok {
				return class
			}
			return deref(c.Spec.StorageClassName)
		}),
		text("VolumeAttributesClass", spec["volumeAttributesClassName"], func(c *corev1.PersistentVolumeClaim) string {
			return pointerOr(c.Spec.VolumeAttributesClassName, "<unset>")
		}),
		ageColumn(),
		wide(text("VolumeMode", spec["volumeMode"], func(c *corev1.PersistentVolumeClaim) string { return volumeMode(c.Spec.VolumeMode) })),
	)
}

func claimStrategy() Strategy {
	return statusOnly(
		func(c *corev1.PersistentVolumeClaim) *corev1.PersistentVolumeClaimSpec { return &c.Spec },
		func(c *corev1.PersistentVolumeClaim) *corev1.PersistentVolumeClaimStatus { return &c.Status },
		rules[*corev1.PersistentVolumeClaim]{
			create:         func(c *corev1.PersistentVolumeClaim) { c.Status.Phase = corev1.ClaimPending },
			defaults:       defaultClaim,
			validate:       validateClaim,
			validateUpdate: validateClaimUpdate,
		})
}

func defaultClaim(c *corev1.PersistentVolumeClaim) {
	setDefault(&c.Status.Phase, corev1.ClaimPending)
	setPointer(&c.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	// The two names of the source say the same where both can say it.
	if ref := c.Spec.DataSourceRef; ref != nil && c.Spec.DataSource == nil && deref(ref.Namespace) == "" {
		c.Spec.DataSource = &corev1.TypedLocalObjectReference{APIGroup: ref.APIGroup, Kind: ref.Kind, Name: ref.Name}
	}
	if source := c.Spec.DataSource; source != nil && c.Spec.DataSourceRef == nil {
		c.Spec.DataSourceRef = &corev1.TypedObjectReference{APIGroup: source.APIGroup, Kind: source.Kind, Name: source.Name}
	}
}

func validateClaim(c *corev1.PersistentVolumeClaim) field.ErrorList {
	errs := validateAccessModes(c.Spec.AccessModes)
	if c.Spec.Selector != nil {
		errs = append(errs, rule.Selector(c.Spec.Selector, specPath("selector"))...)
	}
	path := specPath("resources").Key(string(corev1.ResourceStorage))
	size, ok := c.Spec.Resources.Requests[corev1.ResourceStorage]
	switch {
	case !ok:
		errs = append(errs, field.Required(path, ""))
	case size.Sign() <= 0:
		errs = append(errs, field.Invalid(path, size.String(), "must be greater than zero"))
	}
	if class := deref(c.Spec.StorageClassName); class != "" {
		errs = append(errs, rule.Invalids(specPath("storageClassName"), class, validation.IsDNS1123Subdomain(class))...)
	}
	if m := c.Spec.VolumeMode; m != nil {
		errs = append(errs, rule.OneOf(*m, specPath("volumeMode"), corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)...)
	}
	return errs
}

// validateClaimUpdate: a bound claim may only grow; an unbound one may also be
// bound.
func validateClaimUpdate(c, old *corev1.PersistentVolumeClaim) field.ErrorList {
	masked := c.Spec.DeepCopy()
	if old.Spec.VolumeName == "" {
		masked.VolumeName = ""
	}
	if old.Spec.StorageClassName == nil {
		masked.StorageClassName = nil
	}
	masked.VolumeAttributesClassName = old.Spec.VolumeAttributesClassName
	masked.Resources.Requests = old.Spec.Resources.Requests
	if !equality.Semantic.DeepEqual(masked, &old.Spec) {
		return field.ErrorList{field.Forbidden(specPath(), "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims")}
	}
	size, was := c.Spec.Resources.Requests[corev1.ResourceStorage], old.Spec.Resources.Requests[corev1.ResourceStorage]
	switch path := specPath("resources", "requests", "storage"); {
	case size.Cmp(was) < 0:
		return field.ErrorList{field.Forbidden(path, "field can not be less than previous value")}
	case size.Cmp(was) > 0 && old.Status.Phase != corev1.ClaimBound:
		return field.ErrorList{field.Forbidden(specPath(), "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims")}
	}
	return nil
}
