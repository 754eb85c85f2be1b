package podspec

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

// The annotations that named seccomp profiles before there were fields for them,
// and what they can say. They have no effect, but have to be sound.
const (
	seccompPod       = "seccomp.security.alpha.kubernetes.io/pod"
	seccompContainer = "container.seccomp.security.alpha.kubernetes.io/"

	seccompRuntime    = "runtime/default"
	seccompDocker     = "docker/default"
	seccompUnconfined = "unconfined"
	seccompLocal      = "localhost/"
)

func validateSeccompAnnotations(annotations map[string]string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		if key == seccompPod || strings.HasPrefix(key, seccompContainer) {
			errs = append(errs, validateSeccompName(annotations[key], at.Child(key))...)
		}
	}
	return errs
}

func validateSeccompName(name string, at *field.Path) field.ErrorList {
	if path, local := strings.CutPrefix(name, seccompLocal); local {
		return rule.Descending(path, at)
	}
	if name == seccompRuntime || name == seccompDocker || name == seccompUnconfined {
		return nil
	}
	return field.ErrorList{field.Invalid(at, name, "must be a valid seccomp profile")}
}

// seccompMatches: where an annotation and a field name a profile, it is the same.
func seccompMatches(annotations map[string]string, spec *corev1.PodSpec, pod *field.Path) field.ErrorList {
	if len(annotations) == 0 {
		return nil
	}
	errs := seccompMatch(annotations, seccompPod, deref(spec.SecurityContext).SeccompProfile, pod.Child("spec", "securityContext", "seccompProfile"))
	visit(spec, func(c *corev1.Container, at func() *field.Path) {
		if profile := deref(c.SecurityContext).SeccompProfile; profile != nil {
			errs = append(errs, seccompMatch(annotations, seccompContainer+c.Name, profile, at().Child("securityContext", "seccompProfile"))...)
		}
	}, pod)
	return errs
}

func seccompMatch(annotations map[string]string, key string, profile *corev1.SeccompProfile, at *field.Path) field.ErrorList {
	name, annotated := annotations[key]
	if !annotated || profile == nil {
		return nil
	}
	path, local := strings.CutPrefix(name, seccompLocal)
	same := true
	switch profile.Type {
	case corev1.SeccompProfileTypeUnconfined:
		same = name == seccompUnconfined
	case corev1.SeccompProfileTypeRuntimeDefault:
		same = name == seccompRuntime || name == seccompDocker
	case corev1.SeccompProfileTypeLocalhost:
		same = local
		if local && (profile.LocalhostProfile == nil || *profile.LocalhostProfile != path) {
			return field.ErrorList{field.Forbidden(at.Child("localhostProfile"), "seccomp profile in annotation and field must match")}
		}
	}
	if !same {
		return field.ErrorList{field.Forbidden(at.Child("type"), "seccomp type in annotation and field must match")}
	}
	return nil
}
