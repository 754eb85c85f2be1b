package kinds

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/podspec"
	"navarch.dev/navarch/internal/kinds/volumespec"
)

// oldAnnotations warns of annotations that fields have taken the place of.
func oldAnnotations(annotations map[string]string, old ...[2]string) (out []string) {
	for _, a := range old {
		if _, ok := annotations[a[0]]; ok {
			out = append(out, fmt.Sprintf("%s: %s", field.NewPath("metadata", "annotations").Key(a[0]), a[1]))
		}
	}
	return out
}

const oldClass = `deprecated since v1.8; use "storageClassName" attribute instead`

// warnOfVolume tells of what Kubernetes has left behind: annotations, labels of
// nodes, the recycling of volumes, and drivers that it had built in.
func warnOfVolume(v *corev1.PersistentVolume) []string {
	out := oldAnnotations(v.Annotations, [2]string{corev1.BetaStorageClassAnnotation, oldClass},
		[2]string{corev1.MountOptionAnnotation, `deprecated since v1.31; use "mountOptions" attribute instead`})
	if v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		out = append(out, "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.")
	}
	if a := v.Spec.NodeAffinity; a != nil && a.Required != nil {
		out = append(out, deprecatedInTerms(a.Required.NodeSelectorTerms, specPath("nodeAffinity", "required", "nodeSelectorTerms"))...)
	}
	gone := map[string]string{
		"cephfs":               "cephfs: deprecated in v1.28, non-functional in v1.31+",
		"photonPersistentDisk": "photonPersistentDisk: deprecated in v1.11, non-functional in v1.16+",
		"scaleIO":              "scaleIO: deprecated in v1.16, non-functional in v1.22+",
		"storageos":            "storageOS: deprecated in v1.22, non-functional in v1.25+",
		"glusterfs":            "glusterfs: deprecated in v1.25, non-functional in v1.26+",
		"rbd":                  "rbd: deprecated in v1.28, non-functional in v1.31+",
	}
	for _, source := range volumespec.PersistentSources(&v.Spec.PersistentVolumeSource) {
		if why, ok := gone[source]; ok {
			out = append(out, "spec."+why)
		}
	}
	return out
}

func deprecatedInTerms(terms []corev1.NodeSelectorTerm, at *field.Path) (out []string) {
	for i := range terms {
		for j := range terms[i].MatchExpressions {
			key := terms[i].MatchExpressions[j].Key
			if message, ok := podspec.DeprecatedNodeLabel(key); ok {
				out = append(out, fmt.Sprintf("%s: %s is %s", at.Index(i).Child("matchExpressions").Index(j).Child("key"), key, message))
			}
		}
	}
	return out
}

// warnOfClaim tells of an older way to name a class, and of parts of bytes.
func warnOfClaim(c *corev1.PersistentVolumeClaim) []string {
	out := oldAnnotations(c.Annotations, [2]string{corev1.BetaStorageClassAnnotation, oldClass})
	at := specPath("resources")
	for _, amount := range []struct {
		list corev1.ResourceList
		name string
	}{{c.Spec.Resources.Requests, "requests"}, {c.Spec.Resources.Limits, "limits"}} {
		if size := amount.list[corev1.ResourceStorage]; size.MilliValue()%1000 != 0 {
			out = append(out, fmt.Sprintf("%s: fractional byte value %q is invalid, must be an integer", at.Child(amount.name).Key(string(corev1.ResourceStorage)), size.String()))
		}
	}
	return out
}
