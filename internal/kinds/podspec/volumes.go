package podspec

import (
	"path"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateVolumes(volumes []corev1.Volume, at *field.Path) (map[string]corev1.VolumeSource, field.ErrorList) {
	byName := make(map[string]corev1.VolumeSource, len(volumes))
	var errs field.ErrorList
	for i := range volumes {
		v := &volumes[i]
		name := at.Index(i).Child("name")
		if v.Name == "" {
			errs = append(errs, field.Required(name, ""))
		} else {
			errs = append(errs, invalids(name, v.Name, validation.IsDNS1123Label(v.Name))...)
		}
		if _, taken := byName[v.Name]; taken {
			errs = append(errs, field.Duplicate(name, v.Name))
		}
		byName[v.Name] = v.VolumeSource
		errs = append(errs, validateVolumeSource(&v.VolumeSource, at.Index(i))...)
	}
	return byName, errs
}

// countSources is how many members of a union of pointers are set.
func countSources(union any) int {
	n := 0
	for _, f := range reflect.ValueOf(union).Elem().Fields() {
		if f.Kind() == reflect.Pointer && !f.IsNil() {
			n++
		}
	}
	return n
}

func validateVolumeSource(v *corev1.VolumeSource, at *field.Path) field.ErrorList {
	switch n := countSources(v); {
	case n == 0:
		return field.ErrorList{field.Required(at, "must specify a volume type")}
	case n > 1:
		return field.ErrorList{field.Forbidden(at, "may not specify more than 1 volume type")}
	}
	switch {
	case v.HostPath != nil:
		return validateHostPath(v.HostPath, at.Child("hostPath"))
	case v.EmptyDir != nil:
		if limit := v.EmptyDir.SizeLimit; limit != nil && limit.Sign() < 0 {
			return field.ErrorList{field.Forbidden(at.Child("emptyDir", "sizeLimit"), "SizeLimit field must be a valid resource quantity")}
		}
	case v.Secret != nil:
		errs := required(v.Secret.SecretName, at.Child("secret", "secretName"))
		errs = append(errs, validateMode(v.Secret.DefaultMode, at.Child("secret", "defaultMode"))...)
		return append(errs, validateItems(v.Secret.Items, at.Child("secret", "items"))...)
	case v.ConfigMap != nil:
		errs := required(v.ConfigMap.Name, at.Child("configMap", "name"))
		errs = append(errs, validateMode(v.ConfigMap.DefaultMode, at.Child("configMap", "defaultMode"))...)
		return append(errs, validateItems(v.ConfigMap.Items, at.Child("configMap", "items"))...)
	case v.DownwardAPI != nil:
		errs := validateMode(v.DownwardAPI.DefaultMode, at.Child("downwardAPI", "defaultMode"))
		return append(errs, validateDownwardFiles(v.DownwardAPI.Items, at.Child("downwardAPI", "items"))...)
	case v.Projected != nil:
		return validateProjected(v.Projected, at.Child("projected"))
	case v.PersistentVolumeClaim != nil:
		return required(v.PersistentVolumeClaim.ClaimName, at.Child("persistentVolumeClaim", "claimName"))
	case v.NFS != nil:
		return validateNFS(v.NFS, at.Child("nfs"))
	case v.CSI != nil:
		return required(v.CSI.Driver, at.Child("csi", "driver"))
	case v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate == nil:
		return field.ErrorList{field.Required(at.Child("ephemeral", "volumeClaimTemplate"), "")}
	case v.Image != nil:
		errs := required(v.Image.Reference, at.Child("image", "reference"))
		return append(errs, oneOf(v.Image.PullPolicy, at.Child("image", "pullPolicy"), corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	}
	return nil
}

func required(value string, at *field.Path) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return nil
}

func validateNFS(nfs *corev1.NFSVolumeSource, at *field.Path) field.ErrorList {
	errs := required(nfs.Server, at.Child("server"))
	errs = append(errs, required(nfs.Path, at.Child("path"))...)
	if nfs.Path != "" && !path.IsAbs(nfs.Path) {
		errs = append(errs, field.Invalid(at.Child("path"), nfs.Path, "must be an absolute path"))
	}
	return errs
}

func validateHostPath(h *corev1.HostPathVolumeSource, at *field.Path) field.ErrorList {
	if h.Path == "" {
		return field.ErrorList{field.Required(at.Child("path"), "")}
	}
	errs := noBacksteps(h.Path, at.Child("path"))
	if h.Type == nil || *h.Type == corev1.HostPathUnset {
		return errs
	}
	return append(errs, oneOf(*h.Type, at.Child("type"), corev1.HostPathDirectoryOrCreate, corev1.HostPathDirectory,
		corev1.HostPathFileOrCreate, corev1.HostPathFile, corev1.HostPathSocket, corev1.HostPathCharDev, corev1.HostPathBlockDev)...)
}

func validateMode(mode *int32, at *field.Path) field.ErrorList {
	if mode != nil && (*mode < 0 || *mode > 0o777) {
		return field.ErrorList{field.Invalid(at, *mode, "must be a number between 0 and 0777 (octal), both inclusive")}
	}
	return nil
}

func validateItems(items []corev1.KeyToPath, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, item := range items {
		errs = append(errs, required(item.Key, at.Index(i).Child("key"))...)
		errs = append(errs, validateFilePath(item.Path, at.Index(i).Child("path"))...)
		errs = append(errs, validateMode(item.Mode, at.Index(i).Child("mode"))...)
	}
	return errs
}

// validateFilePath: a file in a volume is below the volume, and its name does
// not look like one of the volume's own bookkeeping.
func validateFilePath(p string, at *field.Path) field.ErrorList {
	if p == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	errs := descending(p, at)
	if len(errs) == 0 && len(p) >= 2 && p[:2] == ".." {
		errs = append(errs, field.Invalid(at, p, "must not start with '..'"))
	}
	return errs
}

func validateDownwardFiles(files []corev1.DownwardAPIVolumeFile, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range files {
		file, at := &files[i], at.Index(i)
		errs = append(errs, validateFilePath(file.Path, at.Child("path"))...)
		errs = append(errs, validateMode(file.Mode, at.Child("mode"))...)
		switch {
		case file.FieldRef != nil && file.ResourceFieldRef != nil:
			errs = append(errs, field.Invalid(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"))
		case file.FieldRef != nil:
			errs = append(errs, validateFieldRef(file.FieldRef, volumeFields, at.Child("fieldRef"))...)
		case file.ResourceFieldRef != nil:
			errs = append(errs, validateResourceFieldRef(file.ResourceFieldRef, true, at.Child("resourceFieldRef"))...)
		default:
			errs = append(errs, field.Required(at, "one of fieldRef and resourceFieldRef is required"))
		}
	}
	return errs
}

func validateProjected(p *corev1.ProjectedVolumeSource, at *field.Path) field.ErrorList {
	errs := validateMode(p.DefaultMode, at.Child("defaultMode"))
	paths := sets.New[string]()
	for i := range p.Sources {
		source := &p.Sources[i]
		at := at.Child("sources").Index(i)
		if n := countSources(source); n != 1 {
			errs = append(errs, field.Forbidden(at, "must specify exactly 1 volume type"))
			continue
		}
		errs = append(errs, validateProjection(source, at)...)
		for _, file := range projectedPaths(source) {
			if paths.Has(file) {
				errs = append(errs, field.Invalid(at, file, "conflicting duplicate paths"))
			}
			paths.Insert(file)
		}
	}
	return errs
}

func validateProjection(s *corev1.VolumeProjection, at *field.Path) field.ErrorList {
	switch {
	case s.Secret != nil:
		return append(required(s.Secret.Name, at.Child("secret", "name")), validateItems(s.Secret.Items, at.Child("secret", "items"))...)
	case s.ConfigMap != nil:
		return append(required(s.ConfigMap.Name, at.Child("configMap", "name")), validateItems(s.ConfigMap.Items, at.Child("configMap", "items"))...)
	case s.DownwardAPI != nil:
		return validateDownwardFiles(s.DownwardAPI.Items, at.Child("downwardAPI", "items"))
	case s.ServiceAccountToken != nil:
		return validateTokenProjection(s.ServiceAccountToken, at.Child("serviceAccountToken"))
	}
	return nil
}

func validateTokenProjection(t *corev1.ServiceAccountTokenProjection, at *field.Path) field.ErrorList {
	errs := validateFilePath(t.Path, at.Child("path"))
	if s := deref(t.ExpirationSeconds); s < 600 {
		errs = append(errs, field.Invalid(at.Child("expirationSeconds"), s, "may not specify a duration less than 10 minutes"))
	} else if s > 1<<32 {
		errs = append(errs, field.Invalid(at.Child("expirationSeconds"), s, "may not specify a duration larger than 2^32 seconds"))
	}
	return errs
}

func projectedPaths(s *corev1.VolumeProjection) []string {
	var paths []string
	add := func(items []corev1.KeyToPath) {
		for _, item := range items {
			paths = append(paths, item.Path)
		}
	}
	switch {
	case s.Secret != nil:
		add(s.Secret.Items)
	case s.ConfigMap != nil:
		add(s.ConfigMap.Items)
	case s.DownwardAPI != nil:
		for _, file := range s.DownwardAPI.Items {
			paths = append(paths, file.Path)
		}
	case s.ServiceAccountToken != nil:
		paths = append(paths, s.ServiceAccountToken.Path)
	}
	return paths
}
