package podspec

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// volumes tells of volumes that Kubernetes has left behind, of claims for parts of
// bytes, and of files that are in each other's way.
func (n *notes) volumes(all []corev1.Volume) {
	for i := range all {
		n.leftBehind(i, &all[i])
		if e := all[i].Ephemeral; e != nil && e.VolumeClaimTemplate != nil {
			at, claim := n.spec("volumes").Index(i).Child("ephemeral", "volumeClaimTemplate", "spec", "resources"), &e.VolumeClaimTemplate.Spec
			n.bytes(corev1.ResourceStorage, claim.Resources.Requests, func() *field.Path { return at.Child("requests") })
			n.bytes(corev1.ResourceStorage, claim.Resources.Limits, func() *field.Path { return at.Child("limits") })
		}
	}
	for i := range all {
		n.files(&all[i])
	}
}

func (n *notes) leftBehind(i int, v *corev1.Volume) {
	for _, old := range []struct {
		used      bool
		name, why string
	}{
		{v.PhotonPersistentDisk != nil, "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"},
		{v.GitRepo != nil, "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"},
		{v.ScaleIO != nil, "scaleIO", "deprecated in v1.16, non-functional in v1.22+"},
		{v.Flocker != nil, "flocker", "deprecated in v1.22, non-functional in v1.25+"},
		{v.StorageOS != nil, "storageOS", "deprecated in v1.22, non-functional in v1.25+"},
		{v.Quobyte != nil, "quobyte", "deprecated in v1.22, non-functional in v1.25+"},
		{v.Glusterfs != nil, "glusterfs", "deprecated in v1.25, non-functional in v1.26+"},
		{v.CephFS != nil, "cephfs", "deprecated in v1.28, non-functional in v1.31+"},
		{v.RBD != nil, "rbd", "deprecated in v1.28, non-functional in v1.31+"},
	} {
		if old.used {
			n.add(n.spec("volumes").Index(i).Child(old.name), "%s", old.why)
		}
	}
}

// file is a path in a volume, and what it comes from if a volume has several.
type file struct{ path, source string }

func (f file) String() string {
	if f.source == "" {
		return fmt.Sprintf("%q", f.path)
	}
	return fmt.Sprintf("%q (%s)", f.path, f.source)
}

// hides says whether two files are one, or one is in the folder that the other is.
func (f file) hides(other file) bool {
	return f.path != "" && other.path != "" && (strings.HasPrefix(f.path+"/", other.path+"/") || strings.HasPrefix(other.path+"/", f.path+"/"))
}

func (n *notes) files(v *corev1.Volume) {
	tell := func(of string, files []file) {
		for i := range files {
			files[i].path = strings.TrimRight(files[i].path, "/")
			for _, before := range files[:i] {
				if files[i].hides(before) {
					n.out = append(n.out, fmt.Sprintf("volume %q (%s): overlapping paths: %s with %s", v.Name, of, files[i], before))
				}
			}
		}
	}
	switch {
	case v.ConfigMap != nil:
		tell(fmt.Sprintf("ConfigMap %q", v.ConfigMap.Name), keyFiles(v.ConfigMap.Items, ""))
	case v.Secret != nil:
		tell(fmt.Sprintf("Secret %q", v.Secret.SecretName), keyFiles(v.Secret.Items, ""))
	case v.DownwardAPI != nil:
		tell("DownwardAPI", fieldFiles(v.DownwardAPI.Items, ""))
	case v.Projected != nil:
		var files []file
		for i := range v.Projected.Sources {
			if v.Projected.Sources[i] == (corev1.VolumeProjection{}) {
				n.out = append(n.out, fmt.Sprintf("volume %q (Projected) has no sources provided", v.Name))
			}
			files = append(files, projectedFiles(&v.Projected.Sources[i])...)
		}
		tell("Projected", files)
	}
}

func keyFiles(items []corev1.KeyToPath, source string) (out []file) {
	for _, item := range items {
		out = append(out, file{item.Path, source})
	}
	return out
}

func fieldFiles(items []corev1.DownwardAPIVolumeFile, source string) (out []file) {
	for _, item := range items {
		out = append(out, file{item.Path, source})
	}
	return out
}

func projectedFiles(s *corev1.VolumeProjection) []file {
	switch {
	case s.ConfigMap != nil:
		return keyFiles(s.ConfigMap.Items, fmt.Sprintf("ConfigMap %q", s.ConfigMap.Name))
	case s.Secret != nil:
		return keyFiles(s.Secret.Items, fmt.Sprintf("Secret %q", s.Secret.Name))
	case s.DownwardAPI != nil:
		return fieldFiles(s.DownwardAPI.Items, "DownwardAPI")
	case s.ServiceAccountToken != nil:
		return []file{{s.ServiceAccountToken.Path, "ServiceAccountToken"}}
	case s.ClusterTrustBundle != nil:
		name := s.ClusterTrustBundle.Name
		if name == nil {
			name = s.ClusterTrustBundle.SignerName
		}
		return []file{{s.ClusterTrustBundle.Path, fmt.Sprintf("ClusterTrustBundle %q", deref(name))}}
	case s.PodCertificate != nil:
		return []file{ // those that are asked for have a path
			{s.PodCertificate.CertificateChainPath, "PodCertificate chain"}, {s.PodCertificate.KeyPath, "PodCertificate key"},
			{s.PodCertificate.CredentialBundlePath, "PodCertificate credential bundle"},
		}
	}
	return nil
}
