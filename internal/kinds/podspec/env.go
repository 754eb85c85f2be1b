package podspec

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The fields and resources that the downward API hands to containers.
var (
	envFields = []string{"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName",
		"spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"}
	volumeFields = []string{"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}
	// subscripted may be followed by a key: metadata.labels['app'].
	subscripted       = []string{"metadata.annotations", "metadata.labels"}
	downwardResources = []string{"limits.cpu", "limits.ephemeral-storage", "limits.memory",
		"requests.cpu", "requests.ephemeral-storage", "requests.memory"}
)

func validateEnv(env []corev1.EnvVar, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range env {
		at := path.Index(i)
		if env[i].Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else {
			errs = append(errs, invalids(at.Child("name"), env[i].Name, validation.IsRelaxedEnvVarName(env[i].Name))...)
		}
		errs = append(errs, validateEnvSource(&env[i], at.Child("valueFrom"))...)
	}
	return errs
}

func validateEnvSource(env *corev1.EnvVar, path *field.Path) field.ErrorList {
	from := env.ValueFrom
	if from == nil {
		return nil
	}
	var errs field.ErrorList
	sources := 0
	count := func(more field.ErrorList) {
		sources++
		errs = append(errs, more...)
	}
	if from.FieldRef != nil {
		count(validateFieldRef(from.FieldRef, envFields, path.Child("fieldRef")))
	}
	if from.ResourceFieldRef != nil {
		count(validateResourceFieldRef(from.ResourceFieldRef, false, path.Child("resourceFieldRef")))
	}
	if ref := from.ConfigMapKeyRef; ref != nil {
		count(validateKeyRef(ref.Name, ref.Key, path.Child("configMapKeyRef")))
	}
	if ref := from.SecretKeyRef; ref != nil {
		count(validateKeyRef(ref.Name, ref.Key, path.Child("secretKeyRef")))
	}
	if ref := from.FileKeyRef; ref != nil {
		count(validateFileKeyRef(ref, path.Child("fileKeyRef")))
	}
	switch {
	case sources == 0:
		errs = append(errs, field.Invalid(path, "", "must specify one of: `configMapKeyRef`, `fieldRef`, `fileKeyRef`, `resourceFieldRef` or `secretKeyRef`"))
	case env.Value != "":
		errs = append(errs, field.Invalid(path, "", "may not be specified when `value` is not empty"))
	case sources > 1:
		errs = append(errs, field.Invalid(path, "", "may not have more than one field specified at a time"))
	}
	return errs
}

func validateKeyRef(name, key string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if name == "" {
		errs = append(errs, field.Required(path.Child("name"), ""))
	}
	if key == "" {
		return append(errs, field.Required(path.Child("key"), ""))
	}
	return append(errs, invalids(path.Child("key"), key, validation.IsConfigMapKey(key))...)
}

func validateFileKeyRef(ref *corev1.FileKeySelector, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	checks := map[string]string{"volumeName": ref.VolumeName, "path": ref.Path, "key": ref.Key}
	for _, name := range sortedKeys(checks) {
		value := checks[name]
		if value == "" {
			errs = append(errs, field.Required(path.Child(name), ""))
		}
	}
	return append(errs, descending(ref.Path, path.Child("path"))...)
}

func validateFieldRef(ref *corev1.ObjectFieldSelector, supported []string, path *field.Path) field.ErrorList {
	at := path.Child("fieldPath")
	if ref.FieldPath == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	base, key, hasKey := cutSubscript(ref.FieldPath)
	switch {
	case hasKey && !slices.Contains(subscripted, base):
		return field.ErrorList{field.Invalid(at, ref.FieldPath, "does not support subscript")}
	case hasKey && base == "metadata.annotations":
		return qualified(at, strings.ToLower(key))
	case hasKey:
		return qualified(at, key)
	case !slices.Contains(supported, ref.FieldPath):
		return field.ErrorList{field.NotSupported(at, ref.FieldPath, supported)}
	}
	return nil
}

// cutSubscript splits metadata.labels['app'] into metadata.labels and app.
func cutSubscript(fieldPath string) (base, key string, ok bool) {
	base, rest, found := strings.Cut(fieldPath, "['")
	key, closed := strings.CutSuffix(rest, "']")
	if !found || !closed {
		return fieldPath, "", false
	}
	return base, key, true
}

// validateResourceFieldRef: in a volume the container must be named, in an
// environment it is the container itself by default.
func validateResourceFieldRef(ref *corev1.ResourceFieldSelector, volume bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if volume && ref.ContainerName == "" {
		errs = append(errs, field.Required(path.Child("containerName"), ""))
	}
	if ref.Resource == "" {
		return append(errs, field.Required(path.Child("resource"), ""))
	}
	hugePages := strings.HasPrefix(ref.Resource, "limits.hugepages-") || strings.HasPrefix(ref.Resource, "requests.hugepages-")
	if !slices.Contains(downwardResources, ref.Resource) && !hugePages {
		errs = append(errs, field.NotSupported(path.Child("resource"), ref.Resource, downwardResources))
	}
	return errs
}

func validateEnvFrom(from []corev1.EnvFromSource, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range from {
		at := path.Index(i)
		if p := from[i].Prefix; p != "" {
			errs = append(errs, invalids(at.Child("prefix"), p, validation.IsRelaxedEnvVarName(p))...)
		}
		config, secret := from[i].ConfigMapRef, from[i].SecretRef
		switch {
		case config == nil && secret == nil:
			errs = append(errs, field.Invalid(at, "", "must specify one of: `configMapRef` or `secretRef`"))
		case config != nil && secret != nil:
			errs = append(errs, field.Invalid(at, "", "may not have more than one field specified at a time"))
		case config != nil && config.Name == "":
			errs = append(errs, field.Required(at.Child("configMapRef", "name"), ""))
		case secret != nil && secret.Name == "":
			errs = append(errs, field.Required(at.Child("secretRef", "name"), ""))
		}
	}
	return errs
}
