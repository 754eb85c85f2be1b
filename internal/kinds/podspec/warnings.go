package podspec

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// deprecatedNodeLabels were replaced by topology.kubernetes.io and
// kubernetes.io names.
func deprecatedNodeLabels() map[string]string {
	return map[string]string{
		"beta.kubernetes.io/arch":                  `use "kubernetes.io/arch" instead`,
		"beta.kubernetes.io/os":                    `use "kubernetes.io/os" instead`,
		"failure-domain.beta.kubernetes.io/region": `use "topology.kubernetes.io/region" instead`,
		"failure-domain.beta.kubernetes.io/zone":   `use "topology.kubernetes.io/zone" instead`,
		"beta.kubernetes.io/instance-type":         `use "node.kubernetes.io/instance-type" instead`,
	}
}

// Warnings returns what an author of an accepted pod probably did not mean.
func Warnings(spec *corev1.PodSpec, path *field.Path) []string {
	var out []string
	deprecated := deprecatedNodeLabels()
	for _, key := range sortedKeys(spec.NodeSelector) {
		if message, ok := deprecated[key]; ok {
			out = append(out, fmt.Sprintf("%s: deprecated since v1.14; %s", path.Child("nodeSelector").Key(key), message))
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
