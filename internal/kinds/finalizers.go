package kinds

// The finalizers that keep storage that is in use. The Store puts them on new
// objects, the controllers pvprotection, pvcprotection and vacprotection take them
// off.
const (
	VolumeProtectionFinalizer          = "kubernetes.io/pv-protection"
	ClaimProtectionFinalizer           = "kubernetes.io/pvc-protection"
	AttributesClassProtectionFinalizer = "kubernetes.io/vac-protection"
)
