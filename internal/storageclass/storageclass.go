// Package storageclass answers what the controller and the scheduler ask of a
// StorageClass.
package storageclass

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

// The annotations of a class that is the default.
const (
	isDefault     = "storageclass.kubernetes.io/is-default-class"
	isDefaultBeta = "storageclass.beta.kubernetes.io/is-default-class"
)

// IsDefault says whether claims that name no class get this one.
func IsDefault(class *storagev1.StorageClass) bool {
	return class.Annotations[isDefault] == "true" || class.Annotations[isDefaultBeta] == "true"
}

// IsDelayed says whether claims of the class are bound only once a pod that
// uses them is placed. nil is no class.
func IsDelayed(class *storagev1.StorageClass) bool {
	return class != nil && class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
}

// Allows says whether volumes of the class may be made where nodes have the
// labels: all of one of the class's terms must hold.
func Allows(class *storagev1.StorageClass, labels map[string]string) bool {
	return len(class.AllowedTopologies) == 0 || slices.ContainsFunc(class.AllowedTopologies, func(t corev1.TopologySelectorTerm) bool {
		return len(t.MatchLabelExpressions) > 0 && !slices.ContainsFunc(t.MatchLabelExpressions, func(r corev1.TopologySelectorLabelRequirement) bool {
			value, ok := labels[r.Key]
			return !ok || !slices.Contains(r.Values, value)
		})
	})
}
