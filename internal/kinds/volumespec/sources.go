// Package volumespec holds the rules of volumes that pods and
// PersistentVolumes share: the sources that they come from, and the claims
// that ask for them.
package volumespec

import (
	"net"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

// What is said of a volume with no source, and of every source beyond the
// first.
const (
	NoSource    = "must specify a volume type"
	MoreSources = "may not specify more than 1 volume type"
)

// ValidateSource returns what is wrong with the source of that name of a pod's
// volume. Sources that are made of the pod's own surroundings (its
// ConfigMaps, Secrets and fields) are not looked at here.
func ValidateSource(name string, v *corev1.VolumeSource, at *field.Path) field.ErrorList {
	switch name {
	case "hostPath":
		return hostPath(v.HostPath, at)
	case "emptyDir":
		if limit := v.EmptyDir.SizeLimit; limit != nil && limit.Sign() < 0 {
			return field.ErrorList{field.Forbidden(at.Child("sizeLimit"), "SizeLimit field must be a valid resource quantity")}
		}
	case "gitRepo":
		return rule.Join(rule.Needs(at, "repository", v.GitRepo.Repository), rule.Descending(v.GitRepo.Directory, at.Child("directory")))
	case "persistentVolumeClaim":
		return rule.Needs(at, "claimName", v.PersistentVolumeClaim.ClaimName)
	case "iscsi":
		s := v.ISCSI
		return iscsi(target{s.TargetPortal, s.IQN, s.Lun, s.InitiatorName, s.DiscoveryCHAPAuth || s.SessionCHAPAuth, s.SecretRef != nil}, at)
	case "glusterfs":
		return rule.Needs(at, "endpoints", v.Glusterfs.EndpointsName, "path", v.Glusterfs.Path)
	case "rbd":
		return blockDevice(v.RBD.CephMonitors, v.RBD.RBDImage, at)
	case "flexVolume":
		return flex(v.FlexVolume.Driver, v.FlexVolume.Options, at)
	case "cinder":
		return rule.Join(rule.Needs(at, "volumeID", v.Cinder.VolumeID), localSecret(v.Cinder.SecretRef, at.Child("secretRef")))
	case "cephfs":
		return monitors(v.CephFS.Monitors, at)
	case "azureFile":
		return rule.Needs(at, "secretName", v.AzureFile.SecretName, "shareName", v.AzureFile.ShareName)
	case "scaleIO":
		s := v.ScaleIO
		return rule.Needs(at, "gateway", s.Gateway, "system", s.System, "volumeName", s.VolumeName)
	case "storageos":
		s := v.StorageOS
		return rule.Join(storageOS(s.VolumeName, s.VolumeNamespace, at), localSecret(s.SecretRef, at.Child("secretRef")))
	case "csi":
		return inlineCSI(v.CSI, at)
	default:
		return sharedSource(name, sharedSources{
			nfs: v.NFS, gce: v.GCEPersistentDisk, aws: v.AWSElasticBlockStore, flocker: v.Flocker, fc: v.FC,
			vsphere: v.VsphereVolume, quobyte: v.Quobyte, azureDisk: v.AzureDisk, photon: v.PhotonPersistentDisk, portworx: v.PortworxVolume,
		}, at)
	}
	return nil
}

// PersistentSources returns the names of the sources that are set, the first of
// which is taken for the volume's.
func PersistentSources(v *corev1.PersistentVolumeSource) []string {
	order := []string{
		"hostPath", "gcePersistentDisk", "awsElasticBlockStore", "glusterfs", "flocker", "nfs", "rbd", "quobyte", "cephfs", "iscsi", "cinder", "fc",
		"flexVolume", "azureFile", "vsphereVolume", "photonPersistentDisk", "portworxVolume", "azureDisk", "scaleIO", "local", "storageos", "csi",
	}
	set := rule.Members(v)
	slices.SortFunc(set, func(a, b string) int { return slices.Index(order, a) - slices.Index(order, b) })
	return set
}

// ValidatePersistentSource returns what is wrong with the source of that name
// of a PersistentVolume.
func ValidatePersistentSource(name string, v *corev1.PersistentVolumeSource, volume string, at *field.Path) field.ErrorList {
	switch name {
	case "hostPath":
		return hostPath(v.HostPath, at)
	case "local":
		if v.Local.Path == "" {
			return rule.Needs(at, "path", "")
		}
		return rule.NoBacksteps(v.Local.Path, at.Child("path"))
	case "iscsi":
		return persistentISCSI(v.ISCSI, volume, at)
	case "glusterfs":
		return rule.Join(
			rule.Needs(at, "endpoints", v.Glusterfs.EndpointsName, "path", v.Glusterfs.Path),
			rule.Optional(v.Glusterfs.EndpointsNamespace, at.Child("endpointsNamespace"), endpointsNamespace),
		)
	case "rbd":
		return blockDevice(v.RBD.CephMonitors, v.RBD.RBDImage, at)
	case "flexVolume":
		return flex(v.FlexVolume.Driver, v.FlexVolume.Options, at)
	case "cinder":
		errs := rule.Needs(at, "volumeID", v.Cinder.VolumeID)
		if ref := v.Cinder.SecretRef; ref != nil {
			errs = append(errs, rule.Needs(at.Child("secretRef"), "name", ref.Name, "namespace", ref.Namespace)...)
		}
		return errs
	case "cephfs":
		return monitors(v.CephFS.Monitors, at)
	case "azureFile":
		return rule.Join(
			rule.Needs(at, "secretName", v.AzureFile.SecretName, "shareName", v.AzureFile.ShareName),
			rule.Optional(v.AzureFile.SecretNamespace, at.Child("secretNamespace"), rule.Required[string]),
		)
	case "scaleIO":
		s := v.ScaleIO
		return rule.Needs(at, "gateway", s.Gateway, "system", s.System, "volumeName", s.VolumeName)
	case "storageos":
		errs := storageOS(v.StorageOS.VolumeName, v.StorageOS.VolumeNamespace, at)
		if ref := v.StorageOS.SecretRef; ref != nil {
			errs = append(errs, rule.Needs(at.Child("secretRef"), "name", ref.Name, "namespace", ref.Namespace)...)
		}
		return errs
	case "csi":
		return persistentCSI(v.CSI, at)
	}
	return sharedSource(name, sharedSources{
		nfs: v.NFS, gce: v.GCEPersistentDisk, aws: v.AWSElasticBlockStore, flocker: v.Flocker, fc: v.FC,
		vsphere: v.VsphereVolume, quobyte: v.Quobyte, azureDisk: v.AzureDisk, photon: v.PhotonPersistentDisk, portworx: v.PortworxVolume,
	}, at)
}

// sharedSources are those that are the same in pods and PersistentVolumes.
type sharedSources struct {
	nfs       *corev1.NFSVolumeSource
	gce       *corev1.GCEPersistentDiskVolumeSource
	aws       *corev1.AWSElasticBlockStoreVolumeSource
	flocker   *corev1.FlockerVolumeSource
	fc        *corev1.FCVolumeSource
	vsphere   *corev1.VsphereVirtualDiskVolumeSource
	quobyte   *corev1.QuobyteVolumeSource
	azureDisk *corev1.AzureDiskVolumeSource
	photon    *corev1.PhotonPersistentDiskVolumeSource
	portworx  *corev1.PortworxVolumeSource
}

func sharedSource(name string, s sharedSources, at *field.Path) field.ErrorList {
	switch name {
	case "nfs":
		return nfs(s.nfs, at)
	case "gcePersistentDisk":
		return rule.Join(rule.Needs(at, "pdName", s.gce.PDName), partition(s.gce.Partition, at))
	case "awsElasticBlockStore":
		return rule.Join(rule.Needs(at, "volumeID", s.aws.VolumeID), partition(s.aws.Partition, at))
	case "flocker":
		return flocker(s.flocker, at)
	case "fc":
		return fibreChannel(s.fc, at)
	case "vsphereVolume":
		return rule.Needs(at, "volumePath", s.vsphere.VolumePath)
	case "quobyte":
		return quobyte(s.quobyte, at)
	case "azureDisk":
		return azureDisk(s.azureDisk, at)
	case "photonPersistentDisk":
		return rule.Needs(at, "pdID", s.photon.PdID)
	case "portworxVolume":
		return rule.Needs(at, "volumeID", s.portworx.VolumeID)
	}
	return nil
}

func hostPath(h *corev1.HostPathVolumeSource, at *field.Path) field.ErrorList {
	if h.Path == "" {
		return rule.Needs(at, "path", "")
	}
	return rule.Join(
		rule.NoBacksteps(h.Path, at.Child("path")),
		rule.OptionalOf(h.Type, at.Child("type"), corev1.HostPathUnset, corev1.HostPathBlockDev, corev1.HostPathCharDev, corev1.HostPathDirectory,
			corev1.HostPathDirectoryOrCreate, corev1.HostPathFile, corev1.HostPathFileOrCreate, corev1.HostPathSocket),
	)
}

func nfs(s *corev1.NFSVolumeSource, at *field.Path) field.ErrorList {
	errs := rule.Needs(at, "server", s.Server, "path", s.Path)
	if !path.IsAbs(s.Path) {
		errs = append(errs, field.Invalid(at.Child("path"), s.Path, "must be an absolute path"))
	}
	return errs
}

// partition accepts 0, the whole disk, beside what the message names.
func partition(n int32, at *field.Path) field.ErrorList {
	if n == 0 {
		return nil
	}
	return rule.Between(n, 1, 255, at.Child("partition"))
}

func endpointsNamespace(ns string, at *field.Path) field.ErrorList {
	if ns == "" {
		return field.ErrorList{field.Invalid(at, ns, "if the endpointnamespace is set, it must be a valid namespace name")}
	}
	return rule.Form(ns, at, validation.IsDNS1123Label)
}

func blockDevice(hosts []string, image string, at *field.Path) field.ErrorList {
	return rule.Join(monitors(hosts, at), rule.Needs(at, "image", image))
}

func monitors(hosts []string, at *field.Path) field.ErrorList {
	if len(hosts) == 0 {
		return rule.Needs(at, "monitors", "")
	}
	return nil
}

func localSecret(ref *corev1.LocalObjectReference, at *field.Path) field.ErrorList {
	if ref == nil {
		return nil
	}
	return rule.Needs(at, "name", ref.Name)
}

// flex: the options of Kubernetes' own domains are the system's to set.
func flex(driver string, options map[string]string, at *field.Path) field.ErrorList {
	return rule.Join(
		rule.Needs(at, "driver", driver),
		rule.EachKey(options, at.Child("options"), func(key, _ string, at *field.Path) field.ErrorList {
			domain, _, _ := strings.Cut("."+strings.ToLower(key), "/")
			if strings.HasSuffix(domain, ".kubernetes.io") || strings.HasSuffix(domain, ".k8s.io") {
				return field.ErrorList{field.Invalid(at, key, "kubernetes.io and k8s.io namespaces are reserved")}
			}
			return nil
		}),
	)
}

func storageOS(name, namespace string, at *field.Path) field.ErrorList {
	return rule.Join(
		rule.Given(name, at.Child("volumeName"), validation.IsDNS1123Label),
		rule.FormIfSet(namespace, at.Child("volumeNamespace"), validation.IsDNS1123Label),
	)
}

func flocker(s *corev1.FlockerVolumeSource, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case s.DatasetName == "" && s.DatasetUUID == "":
		errs = append(errs, field.Required(at, "one of datasetName and datasetUUID is required"))
	case s.DatasetName != "" && s.DatasetUUID != "":
		errs = append(errs, field.Invalid(at, "resource", "datasetName and datasetUUID can not be specified simultaneously"))
	}
	if strings.Contains(s.DatasetName, "/") {
		errs = append(errs, field.Invalid(at.Child("datasetName"), s.DatasetName, "must not contain '/'"))
	}
	return errs
}

func quobyte(s *corev1.QuobyteVolumeSource, at *field.Path) field.ErrorList {
	const pair = "must be a host:port pair or multiple pairs separated by commas"
	var errs field.ErrorList
	switch {
	case s.Registry == "":
		errs = append(errs, field.Required(at.Child("registry"), pair))
	case len(s.Tenant) > 64:
		errs = append(errs, field.Required(at.Child("tenant"), "must be a UUID and may not exceed a length of 64 characters"))
	default:
		for address := range strings.SplitSeq(s.Registry, ",") {
			if _, _, err := net.SplitHostPort(address); err != nil {
				errs = append(errs, field.Invalid(at.Child("registry"), s.Registry, pair))
			}
		}
	}
	return append(errs, rule.Needs(at, "volume", s.Volume)...)
}

func azureDisk(s *corev1.AzureDiskVolumeSource, at *field.Path) field.ErrorList {
	errs := rule.Join(
		rule.Needs(at, "diskName", s.DiskName, "diskURI", s.DataDiskURI),
		rule.OptionalOf(s.CachingMode, at.Child("cachingMode"), corev1.AzureDataDiskCachingNone, corev1.AzureDataDiskCachingReadOnly, corev1.AzureDataDiskCachingReadWrite),
		rule.OptionalOf(s.Kind, at.Child("kind"), corev1.AzureDedicatedBlobDisk, corev1.AzureManagedDisk, corev1.AzureSharedBlobDisk),
	)
	if s.Kind == nil {
		return errs
	}
	prefix, form := "https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
	if *s.Kind == corev1.AzureManagedDisk {
		prefix, form = "/subscriptions/", "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
	}
	if !strings.HasPrefix(s.DataDiskURI, prefix) {
		errs = append(errs, field.NotSupported(at.Child("diskURI"), s.DataDiskURI, []string{form}))
	}
	return errs
}

func inlineCSI(s *corev1.CSIVolumeSource, at *field.Path) field.ErrorList {
	errs := ValidateDriverName(s.Driver, at.Child("driver"))
	if ref := s.NodePublishSecretRef; ref != nil {
		errs = append(errs, rule.Given(ref.Name, at.Child("nodePublishSecretRef", "name"), validation.IsDNS1123Subdomain)...)
	}
	return errs
}

func persistentCSI(s *corev1.CSIPersistentVolumeSource, at *field.Path) field.ErrorList {
	errs := rule.Join(ValidateDriverName(s.Driver, at.Child("driver")), rule.Needs(at, "volumeHandle", s.VolumeHandle))
	for _, secret := range []struct {
		field string
		ref   *corev1.SecretReference
	}{
		{"controllerPublishSecretRef", s.ControllerPublishSecretRef}, {"controllerExpandSecretRef", s.ControllerExpandSecretRef},
		{"nodePublishSecretRef", s.NodePublishSecretRef}, {"nodeExpandSecretRef", s.NodeExpandSecretRef},
	} {
		if secret.ref != nil {
			at := at.Child(secret.field)
			errs = append(errs, rule.Given(secret.ref.Name, at.Child("name"), validation.IsDNS1123Subdomain)...)
			errs = append(errs, rule.Given(secret.ref.Namespace, at.Child("namespace"), validation.IsDNS1123Label)...)
		}
	}
	return errs
}

// ValidateDriverName returns what is wrong with the name of a CSI driver.
func ValidateDriverName(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	if len(name) > 63 {
		errs = append(errs, field.TooLong(at, name, 63))
	}
	return append(errs, rule.Invalids(at, name, validation.IsDNS1123Subdomain(strings.ToLower(name)))...)
}

func className(name string, at *field.Path) field.ErrorList {
	return rule.Invalids(at, name, apivalidation.NameIsDNSSubdomain(name, false))
}
