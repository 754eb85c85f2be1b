package podspec

import corev1 "k8s.io/api/core/v1"

func defaultVolume(v *corev1.Volume) {
	if v.VolumeSource == (corev1.VolumeSource{}) {
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	switch {
	case v.Secret != nil:
		setPointer(&v.Secret.DefaultMode, defaultFileMode)
	case v.ConfigMap != nil:
		setPointer(&v.ConfigMap.DefaultMode, defaultFileMode)
	case v.DownwardAPI != nil:
		setPointer(&v.DownwardAPI.DefaultMode, defaultFileMode)
		defaultDownwardItems(v.DownwardAPI.Items)
	case v.Projected != nil:
		defaultProjected(v.Projected)
	case v.HostPath != nil:
		setPointer(&v.HostPath.Type, corev1.HostPathUnset)
	case v.Ephemeral != nil:
		if v.Ephemeral.VolumeClaimTemplate != nil {
			setPointer(&v.Ephemeral.VolumeClaimTemplate.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
		}
	case v.Image != nil:
		setDefault(&v.Image.PullPolicy, PullPolicyFor(v.Image.Reference))
	case v.ISCSI != nil:
		setDefault(&v.ISCSI.ISCSIInterface, "default")
	case v.RBD != nil:
		setDefault(&v.RBD.RBDPool, "rbd")
		setDefault(&v.RBD.RadosUser, "admin")
		setDefault(&v.RBD.Keyring, "/etc/ceph/keyring")
	case v.AzureDisk != nil:
		defaultAzureDisk(v.AzureDisk)
	case v.ScaleIO != nil:
		setDefault(&v.ScaleIO.StorageMode, "ThinProvisioned")
		setDefault(&v.ScaleIO.FSType, "xfs")
	}
}

func defaultProjected(p *corev1.ProjectedVolumeSource) {
	setPointer(&p.DefaultMode, defaultFileMode)
	for i := range p.Sources {
		if token := p.Sources[i].ServiceAccountToken; token != nil {
			setPointer(&token.ExpirationSeconds, defaultTokenExpirationSeconds)
		}
		if down := p.Sources[i].DownwardAPI; down != nil {
			defaultDownwardItems(down.Items)
		}
	}
}

func defaultDownwardItems(items []corev1.DownwardAPIVolumeFile) {
	for i := range items {
		if items[i].FieldRef != nil {
			setDefault(&items[i].FieldRef.APIVersion, "v1")
		}
	}
}

func defaultAzureDisk(disk *corev1.AzureDiskVolumeSource) {
	setPointer(&disk.CachingMode, corev1.AzureDataDiskCachingReadWrite)
	setPointer(&disk.Kind, corev1.AzureSharedBlobDisk)
	setPointer(&disk.FSType, "ext4")
	setPointer(&disk.ReadOnly, false)
}
