package kinds

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
	"navarch.dev/navarch/internal/kinds/volumespec"
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
	size := list[corev1.ResourceStorage]
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
			create: func(v *corev1.PersistentVolume) {
				since := v.CreationTimestamp
				v.Status.Phase, v.Status.LastPhaseTransitionTime = corev1.VolumePending, &since
			},
			statusUpdate: timePhase,
			defaults: func(v *corev1.PersistentVolume) {
				setDefault(&v.Status.Phase, corev1.VolumePending)
				setDefault(&v.Spec.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimRetain)
				setPointer(&v.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
				volumespec.DefaultPersistentSource(&v.Spec.PersistentVolumeSource)
			},
			warnings:       warnOfVolume,
			validate:       validateVolume,
			validateUpdate: validateVolumeUpdate,
		})
}

// timePhase keeps the time from which a volume is in its phase, as long as who
// writes the phase does not say it.
func timePhase(v, old *corev1.PersistentVolume) {
	since, was := &v.Status.LastPhaseTransitionTime, old.Status.LastPhaseTransitionTime
	switch same := v.Status.Phase == old.Status.Phase; {
	case same && *since == nil:
		*since = was
	case !same && (*since).Equal(was), !same && *since == nil:
		now := metav1.Now().Rfc3339Copy()
		*since = &now
	}
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
			create: func(c *corev1.PersistentVolumeClaim) {
				c.Status.Phase = corev1.ClaimPending
				alignSources(&c.Spec, nil)
			},
			update:   func(c, old *corev1.PersistentVolumeClaim) { alignSources(&c.Spec, &old.Spec) },
			defaults: defaultClaim,
			warnings: warnOfClaim,
			validate: func(c *corev1.PersistentVolumeClaim) field.ErrorList {
				return volumespec.ValidateClaimSpec(&c.Spec, specPath())
			},
			validateUpdate: func(c, old *corev1.PersistentVolumeClaim) field.ErrorList {
				return rule.Join(volumespec.ValidateClaimUpdate(c, old), validateBetaClass(c.Annotations, old.Annotations))
			},
			validateStatus: validateClaimStatus,
		})
}

func defaultClaim(c *corev1.PersistentVolumeClaim) {
	setDefault(&c.Status.Phase, corev1.ClaimPending)
	setPointer(&c.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
}

// alignSources has both names of a claim's source say the same where both can. Of
// claims that have had none yet, the older name is heeded for claims and snapshots
// alone, as ever. Sources in other namespaces are alpha in Kubernetes 1.37. old is
// nil for a new claim.
func alignSources(s, old *corev1.PersistentVolumeClaimSpec) {
	had := old != nil && old.DataSourceRef != nil
	if ref := s.DataSourceRef; ref != nil && deref(ref.Namespace) != "" && !had {
		s.DataSourceRef = nil
	}
	had = had || old != nil && old.DataSource != nil
	if s.DataSourceRef == nil && !had && !isOldSource(s.DataSource) {
		s.DataSource = nil
	}
	if ref := s.DataSourceRef; ref != nil && s.DataSource == nil && deref(ref.Namespace) == "" {
		s.DataSource = &corev1.TypedLocalObjectReference{APIGroup: ref.APIGroup, Kind: ref.Kind, Name: ref.Name}
	}
	if source := s.DataSource; source != nil && s.DataSourceRef == nil {
		s.DataSourceRef = &corev1.TypedObjectReference{APIGroup: source.APIGroup, Kind: source.Kind, Name: source.Name}
	}
}

// isOldSource says whether a source is of a kind that there was before volumes
// could be made of anything.
func isOldSource(s *corev1.TypedLocalObjectReference) bool {
	if s == nil {
		return false
	}
	group := deref(s.APIGroup)
	return group == "" && s.Kind == "PersistentVolumeClaim" || group == "snapshot.storage.k8s.io" && s.Kind == "VolumeSnapshot"
}
