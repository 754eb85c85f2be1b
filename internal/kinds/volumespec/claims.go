package volumespec

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

// ValidateAccessModes returns what is wrong with the modes of a volume or a
// claim. none says that there must be one.
func ValidateAccessModes(modes []corev1.PersistentVolumeAccessMode, none string, at *field.Path) field.ErrorList {
	if len(modes) == 0 {
		return field.ErrorList{field.Required(at, none)}
	}
	var errs field.ErrorList
	exclusive, shared := false, false
	for _, mode := range modes {
		unknown := rule.Supported(mode, at, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod)
		errs = append(errs, unknown...)
		exclusive = exclusive || mode == corev1.ReadWriteOncePod
		shared = shared || (mode != corev1.ReadWriteOncePod && len(unknown) == 0)
	}
	if exclusive && shared {
		errs = append(errs, field.Forbidden(at, "may not use ReadWriteOncePod with other access modes"))
	}
	return errs
}

// ValidateMode returns what is wrong with a volume mode.
func ValidateMode(mode *corev1.PersistentVolumeMode, at *field.Path) field.ErrorList {
	return rule.OptionalOf(mode, at, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)
}

// ValidateClassName returns what is wrong with a reference to a class.
func ValidateClassName(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return nil
	}
	return className(name, at)
}

// ValidateClaimSpec returns what is wrong with what a claim asks for.
func ValidateClaimSpec(s *corev1.PersistentVolumeClaimSpec, at *field.Path) field.ErrorList {
	errs := rule.Join(
		ValidateAccessModes(s.AccessModes, "at least 1 access mode is required", at.Child("accessModes")),
		rule.Selector(s.Selector, at.Child("selector")),
	)
	size := at.Child("resources").Key(string(corev1.ResourceStorage))
	if asked, ok := s.Resources.Requests[corev1.ResourceStorage]; ok {
		errs = append(errs, rule.PositiveQuantity(asked, size)...)
	} else {
		errs = append(errs, field.Required(size, ""))
	}
	return rule.Join(errs,
		rule.Optional(s.StorageClassName, at.Child("storageClassName"), ValidateClassName),
		ValidateMode(s.VolumeMode, at.Child("volumeMode")),
		validateDataSources(s, at),
		rule.Optional(s.VolumeAttributesClassName, at.Child("volumeAttributesClassName"), ValidateClassName),
	)
}

func validateDataSources(s *corev1.PersistentVolumeClaimSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if d := s.DataSource; d != nil {
		errs = append(errs, validateDataSource(deref(d.APIGroup), d.Kind, d.Name, at.Child("dataSource"))...)
	}
	ref := s.DataSourceRef
	if ref == nil {
		return errs
	}
	errs = append(errs, validateDataSource(deref(ref.APIGroup), ref.Kind, ref.Name, at.Child("dataSourceRef"))...)
	errs = append(errs, rule.FormIfSet(deref(ref.Namespace), at.Child("dataSourceRef", "namespace"), validation.IsDNS1123Label)...)
	if s.DataSource == nil {
		return errs
	}
	switch same := *s.DataSource; {
	case deref(ref.Namespace) != "":
		errs = append(errs, field.Invalid(at, at.Child("dataSource").String(), "may not be specified when dataSourceRef.namespace is specified"))
	case deref(same.APIGroup) != deref(ref.APIGroup) || same.Kind != ref.Kind || same.Name != ref.Name:
		errs = append(errs, field.Invalid(at, at.Child("dataSource").String(), "must match dataSourceRef"))
	}
	return errs
}

func validateDataSource(group, kind, name string, at *field.Path) field.ErrorList {
	errs := rule.Needs(at, "name", name, "kind", kind)
	if group == "" && kind != "PersistentVolumeClaim" {
		errs = append(errs, field.Invalid(at, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup"))
	}
	return append(errs, rule.FormIfSet(group, at.Child("apiGroup"), validation.IsDNS1123Subdomain)...)
}

// ValidateClaimTemplate returns what is wrong with the template of a claim
// that is made for one pod.
func ValidateClaimTemplate(t *corev1.PersistentVolumeClaimTemplate, at *field.Path) field.ErrorList {
	return rule.Join(rule.TemplateMeta(&t.ObjectMeta, at.Child("metadata")), ValidateClaimSpec(&t.Spec, at.Child("spec")))
}

const claimImmutable = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n%v"

// ValidateClaimUpdate returns what a change of a claim breaks: a bound claim
// may only grow, an unbound one may also be bound, and a claim that had no
// class may be given one.
func ValidateClaimUpdate(c, old *corev1.PersistentVolumeClaim) field.ErrorList {
	at := field.NewPath("spec")
	masked, was := c.Spec.DeepCopy(), old.Spec.DeepCopy()
	if was.VolumeName == "" {
		was.VolumeName = masked.VolumeName
	}
	class, hadClass := old.Annotations[corev1.BetaStorageClassAnnotation]
	if was.StorageClassName == nil && masked.StorageClassName != nil && (!hadClass || *masked.StorageClassName == class) {
		masked.StorageClassName = nil
	}
	if c.Status.Phase == corev1.ClaimBound && masked.Resources.Requests != nil {
		masked.Resources.Requests[corev1.ResourceStorage] = was.Resources.Requests[corev1.ResourceStorage]
	}
	if c.Status.Phase == corev1.ClaimBound {
		masked.VolumeAttributesClassName = was.VolumeAttributesClassName
	}
	var errs field.ErrorList
	if !equality.Semantic.DeepEqual(masked, was) {
		errs = append(errs, field.Forbidden(at, fmt.Sprintf(claimImmutable, diff.Diff(was, masked))))
	}
	asked, asking := old.Spec.Resources.Requests[corev1.ResourceStorage], c.Spec.Resources.Requests[corev1.ResourceStorage]
	if has := old.Status.Capacity[corev1.ResourceStorage]; asking.Cmp(asked) < 0 && asking.Cmp(has) <= 0 {
		errs = append(errs, field.Forbidden(at.Child("resources", "requests", "storage"), "field can not be less than status.capacity"))
	}
	return rule.Join(errs,
		rule.Immutable(c.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode")),
		validateAttributesUpdate(c, old, at.Child("volumeAttributesClassName")),
	)
}

// validateAttributesUpdate: a class whose attributes a volume has can only be
// replaced by another one.
func validateAttributesUpdate(c, old *corev1.PersistentVolumeClaim, at *field.Path) field.ErrorList {
	class, was := c.Spec.VolumeAttributesClassName, old.Spec.VolumeAttributesClassName
	switch {
	case old.Status.CurrentVolumeAttributesClassName == nil, deref(class) != "", equality.Semantic.DeepEqual(class, was):
		return nil
	case class == nil:
		return field.ErrorList{field.Forbidden(at, "update to nil is forbidden when status.currentVolumeAttributesClassName is not nil")}
	}
	return field.ErrorList{field.Forbidden(at, "update to empty string is forbidden when status.currentVolumeAttributesClassName is not nil")}
}

func deref[T any](p *T) T {
	if p == nil {
		return *new(T)
	}
	return *p
}
