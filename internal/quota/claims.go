package quota

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/storage/volume"
)

// classInfix separates a storage class from what is counted of it.
const classInfix = ".storageclass.storage.k8s.io/"

func isOfClaims(name corev1.ResourceName) bool {
	_, ofClass, found := strings.Cut(string(name), classInfix)
	if found {
		name = corev1.ResourceName(ofClass)
	}
	return name == corev1.ResourceRequestsStorage || name == corev1.ResourcePersistentVolumeClaims
}

func addClaim(used corev1.ResourceList, c *corev1.PersistentVolumeClaim) {
	class := volume.GetPersistentVolumeClaimClass(c)
	if class != "" {
		used[ofClass(class, corev1.ResourcePersistentVolumeClaims)] = one()
	}
	size, ok := c.Spec.Resources.Requests[corev1.ResourceStorage]
	if !ok {
		return
	}
	// While a claim that grew too far shrinks back, what it has been given
	// counts.
	if given, ok := c.Status.AllocatedResources[corev1.ResourceStorage]; ok && given.Cmp(size) > 0 {
		size = given
	}
	size = size.DeepCopy()
	size.RoundUp(0)
	used[corev1.ResourceRequestsStorage] = size
	if class != "" {
		used[ofClass(class, corev1.ResourceRequestsStorage)] = size
	}
}

func ofClass(class string, name corev1.ResourceName) corev1.ResourceName {
	return corev1.ResourceName(class + classInfix + string(name))
}

// attributesClasses returns the VolumeAttributesClasses that a claim has or is
// on its way to.
func attributesClasses(c *corev1.PersistentVolumeClaim) []string {
	var names []string
	for _, name := range []*string{c.Spec.VolumeAttributesClassName, c.Status.CurrentVolumeAttributesClassName} {
		if name != nil && *name != "" {
			names = append(names, *name)
		}
	}
	if m := c.Status.ModifyVolumeStatus; m != nil && m.TargetVolumeAttributesClassName != "" {
		names = append(names, m.TargetVolumeAttributesClassName)
	}
	return names
}
