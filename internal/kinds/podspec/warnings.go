package podspec

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// DeprecatedNodeLabel says what is wrong with the use of a label of nodes; false if
// nothing is.
func DeprecatedNodeLabel(key string) (message string, deprecated bool) {
	switch key {
	case "beta.kubernetes.io/arch":
		return `deprecated since v1.14; use "kubernetes.io/arch" instead`, true
	case "beta.kubernetes.io/os":
		return `deprecated since v1.14; use "kubernetes.io/os" instead`, true
	case corev1.LabelFailureDomainBetaRegion:
		return `deprecated since v1.17; use "topology.kubernetes.io/region" instead`, true
	case corev1.LabelFailureDomainBetaZone:
		return `deprecated since v1.17; use "topology.kubernetes.io/zone" instead`, true
	case corev1.LabelInstanceType:
		return `deprecated since v1.17; use "node.kubernetes.io/instance-type" instead`, true
	case "app.kubernetes.io/created-by":
		return "deprecated since v1.9", true
	case "scheduler.alpha.kubernetes.io/preferAvoidPods":
		return "deprecated since v1.22; use Taints and Tolerations instead", true
	case "node-role.kubernetes.io/master":
		return `use "node-role.kubernetes.io/control-plane" instead`, true
	}
	return "", false
}

// Warnings returns what an author of an accepted pod probably did not mean.
func Warnings(spec *corev1.PodSpec, path *field.Path) []string {
	var out []string
	for _, key := range sortedKeys(spec.NodeSelector) {
		if message, ok := DeprecatedNodeLabel(key); ok {
			out = append(out, fmt.Sprintf("%s: %s", path.Child("nodeSelector").Key(key), message))
		}
	}
	for _, list := range []struct {
		name       string
		containers []corev1.Container
	}{{"initContainers", spec.InitContainers}, {"containers", spec.Containers}} {
		for i := range list.containers {
			out = append(out, duplicateEnv(&list.containers[i], path.Child(list.name).Index(i))...)
		}
	}
	for i, ref := range spec.ImagePullSecrets {
		if ref.Name == "" {
			out = append(out, fmt.Sprintf("%s: invalid empty name %q", path.Child("imagePullSecrets").Index(i).Child("name"), ref.Name))
		}
	}
	if s := deref(spec.TerminationGracePeriodSeconds); s < 0 {
		out = append(out, fmt.Sprintf("%s: must be >= 0; negative values are invalid and will be treated as 1", path.Child("terminationGracePeriodSeconds")))
	}
	return out
}

func duplicateEnv(c *corev1.Container, path *field.Path) []string {
	var out []string
	seen := sets.New[string]()
	for i, env := range c.Env {
		if seen.Has(env.Name) {
			out = append(out, fmt.Sprintf("%s: hides previous definition of %q, which may be dropped when using apply", path.Child("env").Index(i), env.Name))
		}
		seen.Insert(env.Name)
	}
	return out
}
