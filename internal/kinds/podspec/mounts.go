package podspec

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

func (c podCheck) mounts(container *corev1.Container, at *field.Path) field.ErrorList {
	paths := rule.Seen[string]{}
	devices, devicePaths := rule.Seen[string]{}, rule.Seen[string]{}
	for _, d := range container.VolumeDevices {
		devices[d.Name], devicePaths[d.DevicePath] = struct{}{}, struct{}{}
	}
	return rule.Each(container.VolumeMounts, at, func(m *corev1.VolumeMount, item *field.Path) field.ErrorList {
		errs := rule.Needs(item, "name", m.Name)
		if _, ok := c.volumes[m.Name]; !ok {
			errs = append(errs, field.NotFound(item.Child("name"), m.Name))
		}
		errs = append(errs, rule.Needs(item, "mountPath", m.MountPath)...)
		if len(paths.Once(m.MountPath, item)) > 0 {
			errs = append(errs, field.Invalid(item.Child("mountPath"), m.MountPath, "must be unique"))
		}
		if devices.Has(m.Name) {
			errs = append(errs, field.Invalid(item.Child("name"), m.Name, "must not already exist in volumeDevices"))
		}
		if devicePaths.Has(m.MountPath) {
			errs = append(errs, field.Invalid(item.Child("mountPath"), m.MountPath, "must not already exist as a path in volumeDevices"))
		}
		if m.SubPathExpr != "" && m.SubPath != "" {
			errs = append(errs, field.Invalid(item.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive"))
		}
		return rule.Join(errs,
			rule.Descending(m.SubPath, at.Child("subPath")),
			rule.Descending(m.SubPathExpr, at.Child("subPathExpr")),
			propagation(m.MountPropagation, container, at.Child("mountPropagation")),
			recursiveReadOnly(m, at.Child("recursiveReadOnly")))
	})
}

// propagation: only who may do anything on the host may mount for the host.
func propagation(mode *corev1.MountPropagationMode, container *corev1.Container, at *field.Path) field.ErrorList {
	errs := rule.OptionalOf(mode, at, corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer, corev1.MountPropagationNone)
	privileged := container.SecurityContext != nil && deref(container.SecurityContext.Privileged)
	if deref(mode) == corev1.MountPropagationBidirectional && !privileged {
		errs = append(errs, field.Forbidden(at, "Bidirectional mount propagation is available only to privileged containers"))
	}
	return errs
}

func recursiveReadOnly(m *corev1.VolumeMount, at *field.Path) field.ErrorList {
	errs := rule.OptionalOf(m.RecursiveReadOnly, at, corev1.RecursiveReadOnlyDisabled, corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible)
	if mode := deref(m.RecursiveReadOnly); mode != corev1.RecursiveReadOnlyEnabled && mode != corev1.RecursiveReadOnlyIfPossible {
		return errs
	}
	if !m.ReadOnly {
		errs = append(errs, field.Forbidden(at, "may only be specified when readOnly is true"))
	}
	if m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone {
		errs = append(errs, field.Forbidden(at, "may only be specified when mountPropagation is None or not specified"))
	}
	return errs
}

func (c podCheck) devices(container *corev1.Container, at *field.Path) field.ErrorList {
	names, paths := rule.Seen[string]{}, rule.Seen[string]{}
	mounts, mountPaths := rule.Seen[string]{}, rule.Seen[string]{}
	for _, m := range container.VolumeMounts {
		mounts[m.Name], mountPaths[m.MountPath] = struct{}{}, struct{}{}
	}
	return rule.Each(container.VolumeDevices, at, func(d *corev1.VolumeDevice, at *field.Path) field.ErrorList {
		name, path := at.Child("name"), at.Child("devicePath")
		errs := rule.Required(d.Name, name)
		if d.Name != "" && len(names.Once(d.Name, name)) > 0 {
			errs = append(errs, field.Invalid(name, d.Name, "must be unique"))
		}
		source, found := c.volumes[d.Name]
		switch {
		case !found:
			errs = append(errs, field.NotFound(name, d.Name))
		case source.PersistentVolumeClaim == nil && source.Ephemeral == nil:
			errs = append(errs, field.Invalid(name, d.Name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"))
		}
		errs = append(errs, rule.Required(d.DevicePath, path)...)
		if len(paths.Once(d.DevicePath, path)) > 0 {
			errs = append(errs, field.Invalid(path, d.DevicePath, "must be unique"))
		}
		if len(rule.NoBacksteps(d.DevicePath, path)) > 0 {
			errs = append(errs, field.Invalid(path, d.DevicePath, "can not contain backsteps ('..')"))
		}
		if mounts.Has(d.Name) {
			errs = append(errs, field.Invalid(name, d.Name, "must not already exist in volumeMounts"))
		}
		if mountPaths.Has(d.DevicePath) {
			errs = append(errs, field.Invalid(path, d.DevicePath, "must not already exist as a path in volumeMounts"))
		}
		return errs
	})
}
