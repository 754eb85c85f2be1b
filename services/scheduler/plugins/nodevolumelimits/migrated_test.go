package nodevolumelimits

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
)

// TestMigrated: volumes of built-in kinds are those of the drivers that took
// their place, each pod's as the claim of the other.
func TestMigrated(t *testing.T) {
	const ebs, gce, azure, cinder, portworx, vsphere = "ebs.csi.aws.com", "pd.csi.storage.gke.io", "disk.csi.azure.com", "cinder.csi.openstack.org", "pxd.portworx.com", "csi.vsphere.vmware.com"
	for _, tt := range []struct {
		name   string
		driver string
		// pv is the volume of the pod's claim, there a volume of a pod on the node.
		pv    corev1.PersistentVolumeSource
		there corev1.VolumeSource
		want  string
	}{
		{"EBS", ebs, corev1.PersistentVolumeSource{AWSElasticBlockStore: &corev1.AWSElasticBlockStoreVolumeSource{VolumeID: "vol-1"}},
			corev1.VolumeSource{AWSElasticBlockStore: &corev1.AWSElasticBlockStoreVolumeSource{VolumeID: "vol-2"}}, Reason},
		{"EBS, the same", ebs, corev1.PersistentVolumeSource{AWSElasticBlockStore: &corev1.AWSElasticBlockStoreVolumeSource{VolumeID: "vol-1"}},
			corev1.VolumeSource{AWSElasticBlockStore: &corev1.AWSElasticBlockStoreVolumeSource{VolumeID: "vol-1"}}, ""},
		{"EBS, beside its driver's", ebs, corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: ebs, VolumeHandle: "vol-1"}},
			corev1.VolumeSource{AWSElasticBlockStore: &corev1.AWSElasticBlockStoreVolumeSource{VolumeID: "vol-2"}}, Reason},
		{"EBS, the same as its driver's", ebs, corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: ebs, VolumeHandle: "vol-1"}},
			corev1.VolumeSource{AWSElasticBlockStore: &corev1.AWSElasticBlockStoreVolumeSource{VolumeID: "vol-1"}}, ""},
		{"GCE PD", gce, corev1.PersistentVolumeSource{GCEPersistentDisk: &corev1.GCEPersistentDiskVolumeSource{PDName: "one"}},
			corev1.VolumeSource{GCEPersistentDisk: &corev1.GCEPersistentDiskVolumeSource{PDName: "two"}}, Reason},
		{"Azure disk", azure, corev1.PersistentVolumeSource{AzureDisk: &corev1.AzureDiskVolumeSource{DataDiskURI: "one"}},
			corev1.VolumeSource{AzureDisk: &corev1.AzureDiskVolumeSource{DataDiskURI: "two"}}, Reason},
		{"Cinder", cinder, corev1.PersistentVolumeSource{Cinder: &corev1.CinderPersistentVolumeSource{VolumeID: "one"}},
			corev1.VolumeSource{Cinder: &corev1.CinderVolumeSource{VolumeID: "two"}}, Reason},
		{"Portworx", portworx, corev1.PersistentVolumeSource{PortworxVolume: &corev1.PortworxVolumeSource{VolumeID: "one"}},
			corev1.VolumeSource{PortworxVolume: &corev1.PortworxVolumeSource{VolumeID: "two"}}, Reason},
		{"vSphere is not counted", vsphere, corev1.PersistentVolumeSource{VsphereVolume: &corev1.VsphereVirtualDiskVolumeSource{VolumePath: "one"}},
			corev1.VolumeSource{VsphereVolume: &corev1.VsphereVirtualDiskVolumeSource{VolumePath: "two"}}, ""},
		{"no driver's", ebs, corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/one"}},
			corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/two"}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pv := schedtest.Volume("pv", "", "")
			pv.Spec.PersistentVolumeSource = tt.pv
			p, state := New(schedtest.NewStorage(pv, schedtest.Bound(schedtest.Claim("a", ""), "pv"), csiNode(map[string]int32{tt.driver: 1}))), &framework.CycleState{}
			there := schedtest.Pod("there").With(func(p *corev1.Pod) { p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: tt.there}} })
			pod, got := schedtest.Pod("p").Claims("a").Info(), ""
			if _, s := p.PreFilter(t.Context(), state, pod, nil); s.Code() != framework.Skip {
				got = p.Filter(t.Context(), state, pod, schedtest.Node("n").Pods(there).Info()).Message()
			}
			if got != tt.want {
				t.Errorf("%q", got)
			}
			gone := framework.Event{Resource: framework.AssignedPod, Action: framework.Delete, Old: there.Pod()}
			if helps := p.EventsToRegister()[0].Covers(pod, gone); tt.want == Reason && !helps {
				t.Error("the end of the pod that is there does not help")
			}
		})
	}
}

// TestMigratedProvisioner: a claim of a class with a built-in kind's name gets
// its driver's volume.
func TestMigratedProvisioner(t *testing.T) {
	for provisioner, want := range map[string]string{
		"kubernetes.io/aws-ebs": "ebs.csi.aws.com", "kubernetes.io/gce-pd": "pd.csi.storage.gke.io", "kubernetes.io/vsphere-volume": "kubernetes.io/vsphere-volume", driver: driver,
	} {
		if got := driverFor(provisioner); got != want {
			t.Errorf("%s: %s, not %s", provisioner, got, want)
		}
	}
}
