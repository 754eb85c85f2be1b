package podspec

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

// envFields are the pod's fields that containers can be given.
func envFields() []string {
	return []string{"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName",
		"spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"}
}

// volumeFields are the pod's fields that files can show.
func volumeFields() []string {
	return []string{"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}
}

// knownField says whether a pod has a field that could be asked for.
func knownField(path string) bool {
	return slices.Contains(envFields(), path) || slices.Contains(volumeFields(), path) ||
		slices.Contains([]string{"spec.restartPolicy", "spec.schedulerName", "status.phase"}, path)
}

func downwardResources() []string {
	return []string{"limits.cpu", "limits.ephemeral-storage", "limits.memory",
		"requests.cpu", "requests.ephemeral-storage", "requests.memory"}
}

func validateEnv(env []corev1.EnvVar, at *field.Path) field.ErrorList {
	return rule.Each(env, at, func(e *corev1.EnvVar, at *field.Path) field.ErrorList {
		return rule.Join(
			rule.Given(e.Name, at.Child("name"), validation.IsRelaxedEnvVarName),
			validateEnvSource(e, at.Child("valueFrom")),
		)
	})
}

func validateEnvSource(env *corev1.EnvVar, at *field.Path) field.ErrorList {
	from := env.ValueFrom
	if from == nil {
		return nil
	}
	var errs field.ErrorList
	sources := rule.Members(from)
	for _, name := range sources {
		switch at := at.Child(name); name {
		case "fieldRef":
			errs = append(errs, validateFieldRef(from.FieldRef, envFields(), at)...)
		case "resourceFieldRef":
			errs = append(errs, validateResourceFieldRef(from.ResourceFieldRef, false, at)...)
		case "configMapKeyRef":
			errs = append(errs, validateKeyRef(from.ConfigMapKeyRef.Name, from.ConfigMapKeyRef.Key, at)...)
		case "secretKeyRef":
			errs = append(errs, validateKeyRef(from.SecretKeyRef.Name, from.SecretKeyRef.Key, at)...)
		case "fileKeyRef":
			errs = append(errs, validateFileKeyRef(from.FileKeyRef, at)...)
		}
	}
	switch {
	case len(sources) == 0:
		errs = append(errs, field.Invalid(at, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"))
	case env.Value != "":
		errs = append(errs, field.Invalid(at, "", "may not be specified when `value` is not empty"))
	case len(sources) > 1:
		errs = append(errs, field.Invalid(at, "", "may not have more than one field specified at a time"))
	}
	return errs
}

func validateKeyRef(name, key string, at *field.Path) field.ErrorList {
	return rule.Join(subdomain(name, at.Child("name")), rule.Given(key, at.Child("key"), validation.IsConfigMapKey))
}

func validateFileKeyRef(ref *corev1.FileKeySelector, at *field.Path) field.ErrorList {
	errs := rule.Join(
		rule.Given(ref.VolumeName, at.Child("volumeName"), validation.IsDNS1123Label),
		rule.Given(ref.Key, at.Child("key"), validation.IsRelaxedEnvVarName),
		rule.Needs(at, "path", ref.Path),
	)
	return append(errs, rule.FilePath(ref.Path, at.Child("path"))...)
}

// envFiles: variables come from files of volumes that are the pod's own alone.
func (c podCheck) envFiles(env []corev1.EnvVar, at *field.Path) field.ErrorList {
	return rule.Each(env, at, func(v *corev1.EnvVar, at *field.Path) field.ErrorList {
		if v.ValueFrom == nil || v.ValueFrom.FileKeyRef == nil {
			return nil
		}
		name := v.ValueFrom.FileKeyRef.VolumeName
		at = at.Child("valueFrom", "fileKeyRef", "volumeName")
		switch source, found := c.volumes[name]; {
		case !found:
			return field.ErrorList{field.NotFound(at, name)}
		case source.EmptyDir == nil:
			return field.ErrorList{field.Invalid(at, name, "referenced volume must be of type emptyDir")}
		}
		return nil
	})
}

func validateFieldRef(ref *corev1.ObjectFieldSelector, supported []string, at *field.Path) field.ErrorList {
	switch {
	case ref.APIVersion == "":
		return rule.Needs(at, "apiVersion", "")
	case ref.FieldPath == "":
		return rule.Needs(at, "fieldPath", "")
	}
	base, key, subscripted := cutSubscript(ref.FieldPath)
	switch {
	case !knownField(base):
		return field.ErrorList{field.Invalid(at.Child("fieldPath"), ref.FieldPath, "error converting fieldPath: field label not supported: "+ref.FieldPath)}
	case subscripted && base == "metadata.annotations":
		return rule.Qualified(strings.ToLower(key), at)
	case subscripted && base == "metadata.labels":
		return rule.Qualified(key, at)
	case subscripted:
		return field.ErrorList{field.Invalid(at, base, "does not support subscript")}
	}
	return rule.Supported(ref.FieldPath, at.Child("fieldPath"), supported...)
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
func validateResourceFieldRef(ref *corev1.ResourceFieldSelector, volume bool, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case volume && ref.ContainerName == "":
		errs = rule.Needs(at, "containerName", "")
	case ref.Resource == "":
		errs = rule.Needs(at, "resource", "")
	case !isHugePagesField(ref.Resource):
		errs = rule.Supported(ref.Resource, at.Child("resource"), downwardResources()...)
	}
	return append(errs, validateDivisor(ref.Resource, ref.Divisor, at.Child("divisor"))...)
}

func isHugePagesField(name string) bool {
	return strings.HasPrefix(name, "limits.hugepages-") || strings.HasPrefix(name, "requests.hugepages-")
}

// validateDivisor: what an amount is shown in is a unit, not any number.
func validateDivisor(name string, divisor resource.Quantity, at *field.Path) field.ErrorList {
	if divisor.IsZero() {
		return nil
	}
	_, kind, _ := strings.Cut(name, ".")
	const sizes = "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei"
	units, shown, of := sizes, sizes, kind
	switch {
	case kind == "cpu":
		units, shown = "1m, 1", "1m and 1"
	case kind == "ephemeral-storage":
		of = "local ephemeral storage"
	case isHugePagesField(name):
		of = "hugepages"
	case kind != "memory":
		return nil
	}
	if slices.Contains(strings.Split(units, ", "), divisor.String()) {
		return nil
	}
	return field.ErrorList{field.Invalid(at, name, "only divisor's values "+shown+" are supported with the "+of+" resource")}
}

func validateEnvFrom(from []corev1.EnvFromSource, list *field.Path) field.ErrorList {
	return rule.Each(from, list, func(f *corev1.EnvFromSource, at *field.Path) field.ErrorList {
		errs := rule.FormIfSet(f.Prefix, at.Child("prefix"), validation.IsRelaxedEnvVarName)
		if f.ConfigMapRef != nil {
			errs = append(errs, rule.Given(f.ConfigMapRef.Name, at.Child("configMapRef", "name"), validation.IsDNS1123Subdomain)...)
		}
		if f.SecretRef != nil {
			errs = append(errs, rule.Given(f.SecretRef.Name, at.Child("secretRef", "name"), validation.IsDNS1123Subdomain)...)
		}
		switch {
		case f.ConfigMapRef == nil && f.SecretRef == nil:
			errs = append(errs, field.Invalid(list, "", "must specify one of: `configMapRef` or `secretRef`"))
		case f.ConfigMapRef != nil && f.SecretRef != nil:
			errs = append(errs, field.Invalid(list, "", "may not have more than one field specified at a time"))
		}
		return errs
	})
}
