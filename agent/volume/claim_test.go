package volume

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/localpath"
	"navarch.dev/navarch/internal/telemetry"
)

func gibibyte() corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
}

var once = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}

// bind puts a claim, and the volume it is bound to, into the Store.
func (b *bench) bind(claim string, pv *corev1.PersistentVolume) {
	b.t.Helper()
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: claim},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: once, VolumeName: pv.Name, StorageClassName: ptr.To(""),
			Resources: corev1.VolumeResourceRequirements{Requests: gibibyte()},
		},
	}
	must(b.t, b.client.Create(b.t.Context(), c))
	c.Status.Phase = corev1.ClaimBound
	must(b.t, b.client.UpdateStatus(b.t.Context(), c))
	pv.Spec.AccessModes, pv.Spec.Capacity = once, gibibyte()
	pv.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "default", Name: claim, UID: c.UID}
	must(b.t, b.client.Create(b.t.Context(), pv))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// provisioned is a local-path volume of node n.
func provisioned(name, dir string) *corev1.PersistentVolume {
	pv := local(name, filepath.Join(dir, name))
	pv.Annotations = map[string]string{volume.AnnDynamicallyProvisioned: localpath.Provisioner}
	pv.Labels = map[string]string{localpath.NodeLabel: "n"}
	pv.Finalizers = []string{localpath.Finalizer}
	return pv
}

func local(name, path string) *corev1.PersistentVolume {
	pv := withSource(name, corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path}})
	pv.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{"n"}}},
	}}}}
	return pv
}

func withSource(name string, source corev1.PersistentVolumeSource) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: source}}
}

func claiming(name string) *corev1.Pod {
	pod := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
	}})
	pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
	return pod
}

func TestClaims(t *testing.T) {
	b := newBench(t)
	volumes, host := t.TempDir(), t.TempDir()
	b.manager.cfg.LocalDir = volumes
	block := local("pv-block", "/dev/null")
	block.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeBlock)
	elsewhere := provisioned("pv-elsewhere", "/etc")
	b.bind("made", provisioned("pv-made", volumes))
	b.bind("elsewhere", elsewhere)
	b.bind("static", local("pv-static", host))
	b.bind("absent", local("pv-absent", filepath.Join(host, "absent")))
	b.bind("host", withSource("pv-host", corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: filepath.Join(host, "new")}}))
	b.bind("block", block)
	b.bind("csi", withSource("pv-csi", corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "example.com", VolumeHandle: "h"}}))
	must(t, b.client.Create(t.Context(), &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "unbound"},
		Spec:       corev1.PersistentVolumeClaimSpec{AccessModes: once, Resources: corev1.VolumeResourceRequirements{Requests: gibibyte()}},
	}))
	const prefix = "MountVolume.SetUp failed for volume "
	for _, tt := range []struct{ claim, path, fails string }{
		{"made", filepath.Join(volumes, "pv-made"), ""},
		{"static", host, ""},
		{"host", filepath.Join(host, "new"), ""},
		{"missing", "", prefix + `"v" : error processing PVC default/missing: failed to fetch PVC from API server: persistentvolumeclaims "missing" not found`},
		{"unbound", "", prefix + `"v" : error processing PVC default/unbound: PVC is not bound`},
		{"absent", "", prefix + `"pv-absent" : the path of the local volume:`},
		{"elsewhere", "", prefix + `"pv-elsewhere" : the path "/etc/pv-elsewhere" of the volume is not`},
		{"block", "", prefix + `"pv-block" : volume v has volumeMode Block, but is specified in volumeMounts`},
		{"csi", "", prefix + `"pv-csi" : driver name example.com not found in the list of registered CSI drivers`},
	} {
		vols, err := b.manager.SetUp(t.Context(), claiming(tt.claim))
		switch {
		case tt.fails != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.fails)):
			t.Errorf("%s: got error %v, want %s", tt.claim, err, tt.fails)
		case tt.fails == "" && (err != nil || vols["v"].HostPath != tt.path || vols["v"].ReadOnly):
			t.Errorf("%s: %+v, %v", tt.claim, vols, err)
		}
	}
	if info, err := os.Stat(filepath.Join(volumes, "pv-made")); err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("the folder that was made: %v, %v", info, err)
	}
	pod := claiming("made")
	pod.Spec.Volumes[0].PersistentVolumeClaim.ReadOnly = true
	if vols, err := b.manager.SetUp(t.Context(), pod); err != nil || !vols["v"].ReadOnly {
		t.Errorf("read-only: %+v, %v", vols, err)
	}
}

func TestVolumeBecomesTheGroupsOnce(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("changing owners needs root")
	}
	b := newBench(t)
	b.manager.cfg.LocalDir = t.TempDir()
	b.bind("made", provisioned("pv-made", b.manager.cfg.LocalDir))
	pod := claiming("made")
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr.To(int64(2000))}
	file := filepath.Join(b.manager.cfg.LocalDir, "pv-made", "file")
	groupOf := func() uint32 {
		info, err := os.Stat(file)
		must(t, err)
		return info.Sys().(*syscall.Stat_t).Gid
	}
	must(t, os.Mkdir(filepath.Dir(file), 0o755))
	must(t, os.WriteFile(file, nil, 0o600))
	b.setUp(pod, nil)
	if groupOf() != 2000 {
		t.Errorf("group %d", groupOf())
	}
	must(t, os.Chown(file, -1, 3000))
	b.setUp(pod, nil)
	if groupOf() != 3000 {
		t.Error("a second look at the same pod changed the group again")
	}
	must(t, b.manager.TearDown("uid-p"))
	pod.Spec.SecurityContext.FSGroupChangePolicy = ptr.To(corev1.FSGroupChangeOnRootMismatch)
	b.setUp(pod, nil)
	if groupOf() != 3000 {
		t.Error("OnRootMismatch changed what is below a root that matches")
	}
	must(t, b.manager.TearDown("uid-p"))
	pod.Spec.SecurityContext.FSGroupChangePolicy = nil
	b.setUp(pod, nil)
	if groupOf() != 2000 {
		t.Error("the next pod's group was not set")
	}
}

func TestLinkedVolumeBecomesTheGroups(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("changing owners needs root")
	}
	b, folder := newBench(t), t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(folder, link))
	b.bind("linked", local("pv-linked", link))
	pod := claiming("linked")
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr.To(int64(2000))}
	b.setUp(pod, nil)
	if !belongsTo(folder, 2000) {
		t.Error("the folder that the path is a link to does not belong to the group")
	}
}

func TestNFS(t *testing.T) {
	for content, want := range map[string]string{
		"nodev\tsysfs\n\text4\n": "has no NFS client",
		"nodev\tnfs\n\text4\n":   "not supported by this node",
		"nodev\tnfsd\n":          "has no NFS client",
	} {
		path := filepath.Join(t.TempDir(), "filesystems")
		must(t, os.WriteFile(path, []byte(content), 0o600))
		if err := nfsProblem(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", content, err)
		}
	}
}

type noEvents struct{}

func (noEvents) Event(kinds.Object, string, string, string) {}

func TestReclaim(t *testing.T) {
	for _, tt := range []struct {
		name         string
		phase        corev1.PersistentVolumePhase
		policy       corev1.PersistentVolumeReclaimPolicy
		gone, remain bool // the volume, the data
	}{
		{"released", corev1.VolumeReleased, corev1.PersistentVolumeReclaimDelete, true, false},
		{"still bound", corev1.VolumeBound, corev1.PersistentVolumeReclaimDelete, false, true},
		{"retained", corev1.VolumeReleased, corev1.PersistentVolumeReclaimRetain, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, dir := newBench(t), t.TempDir()
			r, err := NewReclaimer("n", dir, b.client, noEvents{}, telemetry.Discard("agent").Log)
			must(t, err)
			pv := provisioned("pv", dir)
			pv.Spec.PersistentVolumeReclaimPolicy = tt.policy
			b.bind("c", pv)
			pv.Status.Phase = tt.phase
			must(t, b.client.UpdateStatus(t.Context(), pv))
			data := filepath.Join(dir, "pv", "data")
			must(t, os.MkdirAll(data, 0o700))
			must(t, b.client.Delete(t.Context(), pv, client.DeleteOptions{}))
			must(t, b.client.Get(t.Context(), "", "pv", pv))
			if got := reclaimable(pv); got != tt.gone {
				t.Fatalf("reclaimable: %v", got)
			}
			if tt.gone {
				must(t, r.reclaim(t.Context(), pv))
				// Others may still hold the volume.
				if err := b.client.Get(t.Context(), "", "pv", pv); err == nil && reclaimable(pv) {
					t.Error("the volume still waits for its node")
				}
			}
			if _, err := os.Stat(data); errors.Is(err, os.ErrNotExist) == tt.remain {
				t.Errorf("the data: %v", err)
			}
		})
	}
}

func TestBlockDevices(t *testing.T) {
	b := newBench(t)
	null := local("pv-null", "/dev/null")
	null.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeBlock)
	path := withSource("pv-path", corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/dev/null"}})
	path.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeBlock)
	b.bind("null", null)
	b.bind("path", path)
	for claim, want := range map[string]string{
		"null": "the path of the local volume: /dev/null is no block device, as volumeMode Block wants",
		"path": "volumes with volumeMode Block are supported by this node only if they are local volumes",
	} {
		pod := claiming(claim)
		pod.Spec.Containers[0].VolumeMounts = nil
		pod.Spec.Containers[0].VolumeDevices = []corev1.VolumeDevice{{Name: "v", DevicePath: "/dev/v"}}
		if _, err := b.manager.SetUp(t.Context(), pod); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, not %s", claim, err, want)
		}
	}
	c := &corev1.Container{Name: "c", VolumeDevices: []corev1.VolumeDevice{{Name: "a", DevicePath: "/dev/a"}, {Name: "b", DevicePath: "b"}}}
	vols := Volumes{"a": {HostPath: "/dev/sda", Device: true}, "b": {HostPath: "/dev/sdb", Device: true, ReadOnly: true}}
	got, err := b.manager.Devices(c, vols)
	want := []runtime.Device{
		{HostPath: "/dev/sda", ContainerPath: "/dev/a", Permissions: "rwm"},
		{HostPath: "/dev/sdb", ContainerPath: "/b", Permissions: "r"},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("the container gets %+v, %v", got, err)
	}
	if got, err := b.manager.Devices(c, Volumes{"a": {HostPath: "/folder"}}); err == nil {
		t.Errorf("a container gets a folder as a device: %+v", got)
	}
}

func TestFilesystemIn(t *testing.T) {
	for _, tt := range []struct{ out, want, fails string }{
		{"DEVNAME=/dev/sda1\nTYPE=ext4\n", "ext4", ""},
		{"DEVNAME=/dev/sda1\nTYPE=xfs\nPTTYPE=dos\n", "xfs", ""},
		{"DEVNAME=/dev/sda\nPTTYPE=gpt\n", "", "the device /dev/sda has a partition table (gpt), not a filesystem"},
		{"DEVNAME=/dev/sda\n", "", `it is not known what the device /dev/sda holds: "DEVNAME=/dev/sda\n"`},
	} {
		got, err := filesystemIn("/dev/sda", []byte(tt.out))
		if got != tt.want || (err == nil) != (tt.fails == "") || err != nil && err.Error() != tt.fails {
			t.Errorf("%q: %q, %v", tt.out, got, err)
		}
	}
}
