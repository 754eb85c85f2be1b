package podsecurity

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// windowsExempt is the first version that asks nothing of Windows pods which
// Windows does not know.
const windowsExempt Version = 25

func privilegeEscalation(p pod) *Violation {
	if p.version >= windowsExempt && p.onWindows() {
		return nil
	}
	bad := p.blame(func(c *corev1.SecurityContext) bool { return ptr.Deref(c.AllowPrivilegeEscalation, true) })
	if len(bad) == 0 {
		return nil
	}
	return &Violation{"allowPrivilegeEscalation != false", containerNames(bad) + " must set securityContext.allowPrivilegeEscalation=false"}
}

func droppedCapabilities(p pod) *Violation {
	if p.version >= windowsExempt && p.onWindows() {
		return nil
	}
	keeping := p.blame(func(c *corev1.SecurityContext) bool {
		return c.Capabilities == nil || !slices.Contains(c.Capabilities.Drop, "ALL")
	})
	var faults []string
	if len(keeping) > 0 {
		faults = append(faults, containerNames(keeping)+` must set securityContext.capabilities.drop=["ALL"]`)
	}
	if bad := adding(p, []corev1.Capability{"NET_BIND_SERVICE"}); bad.any() {
		faults = append(faults, addedText(bad))
	}
	if len(faults) == 0 {
		return nil
	}
	return &Violation{"unrestricted capabilities", strings.Join(faults, "; ")}
}

func volumeTypes(p pod) *Violation {
	var names []string
	types := make(map[string]bool)
	for i := range p.Volumes {
		if t, restricted := restrictedType(&p.Volumes[i]); restricted {
			names = append(names, p.Volumes[i].Name)
			types[t] = true
		}
	}
	if len(names) == 0 {
		return nil
	}
	return &Violation{"restricted volume types", fmt.Sprintf("%s %s %s %s %s", number(len(names), "volume", "volumes"), quoted(names),
		number(len(names), "uses", "use"), number(len(types), "restricted volume type", "restricted volume types"), quoted(slices.Sorted(maps.Keys(types))))}
}

// restrictedType returns a volume's type, and whether it is one that could
// lead to the node or past the claims.
func restrictedType(v *corev1.Volume) (string, bool) {
	switch {
	case v.ConfigMap != nil, v.CSI != nil, v.DownwardAPI != nil, v.EmptyDir != nil, v.Ephemeral != nil, v.Image != nil,
		v.PersistentVolumeClaim != nil, v.Projected != nil, v.Secret != nil:
		return "", false
	}
	for _, t := range []struct {
		is   bool
		name string
	}{
		{v.HostPath != nil, "hostPath"}, {v.GCEPersistentDisk != nil, "gcePersistentDisk"}, {v.AWSElasticBlockStore != nil, "awsElasticBlockStore"},
		{v.GitRepo != nil, "gitRepo"}, {v.NFS != nil, "nfs"}, {v.ISCSI != nil, "iscsi"}, {v.Glusterfs != nil, "glusterfs"}, {v.RBD != nil, "rbd"},
		{v.FlexVolume != nil, "flexVolume"}, {v.Cinder != nil, "cinder"}, {v.CephFS != nil, "cephfs"}, {v.Flocker != nil, "flocker"}, {v.FC != nil, "fc"},
		{v.AzureFile != nil, "azureFile"}, {v.VsphereVolume != nil, "vsphereVolume"}, {v.Quobyte != nil, "quobyte"}, {v.AzureDisk != nil, "azureDisk"},
		{v.PhotonPersistentDisk != nil, "photonPersistentDisk"}, {v.PortworxVolume != nil, "portworxVolume"}, {v.ScaleIO != nil, "scaleIO"},
		{v.StorageOS != nil, "storageos"},
	} {
		if t.is {
			return t.name, true
		}
	}
	return "unknown", true
}

func runAsNonRoot(p pod) *Violation {
	if p.version >= 35 && p.ownUsers() {
		return nil
	}
	const reason = "runAsNonRoot != true"
	whole := p.context().RunAsNonRoot
	bad := offenders{pod: whole != nil && !*whole}
	bad.containers = p.blame(func(c *corev1.SecurityContext) bool { return c.RunAsNonRoot != nil && !*c.RunAsNonRoot })
	if bad.any() {
		return &Violation{reason, bad.String() + " must not set securityContext.runAsNonRoot=false"}
	}
	silent := p.blame(func(c *corev1.SecurityContext) bool { return c.RunAsNonRoot == nil && whole == nil })
	if len(silent) == 0 {
		return nil
	}
	return &Violation{reason, "pod or " + containerNames(silent) + " must set securityContext.runAsNonRoot=true"}
}

func runAsUser(p pod) *Violation {
	if p.version >= 35 && p.ownUsers() {
		return nil
	}
	root := func(user *int64) bool { return user != nil && *user == 0 }
	bad := offenders{pod: root(p.context().RunAsUser)}
	bad.containers = p.blame(func(c *corev1.SecurityContext) bool { return root(c.RunAsUser) })
	if !bad.any() {
		return nil
	}
	return &Violation{"runAsUser=0", bad.String() + " must not set runAsUser=0"}
}
