package volume

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"navarch.dev/navarch/internal/looptest"
)

// sizeOf returns the size of the filesystem at a path.
func sizeOf(t *testing.T, path string) uint64 {
	t.Helper()
	var fs unix.Statfs_t
	must(t, unix.Statfs(path, &fs))
	return fs.Blocks * uint64(fs.Bsize) //nolint:gosec // it is positive
}

// mayGrow says whether this process may make mounted filesystems larger.
func mayGrow(t *testing.T) bool {
	t.Helper()
	_, text, _ := strings.Cut(read(t, "/proc/self/status"), "CapEff:")
	text, _, _ = strings.Cut(text, "\n")
	caps, err := strconv.ParseUint(strings.TrimSpace(text), 16, 64)
	must(t, err)
	return caps&(1<<unix.CAP_SYS_RESOURCE) != 0
}

// growTo gives a volume another capacity.
func (b *bench) growTo(volume, size string) {
	b.t.Helper()
	pv := &corev1.PersistentVolume{}
	must(b.t, b.client.Get(b.t.Context(), "", volume, pv))
	pv.Spec.Capacity[corev1.ResourceStorage] = resource.MustParse(size)
	must(b.t, b.client.Update(b.t.Context(), pv))
}

// TestFilesystemGrowsWithItsDevice has pods use a volume before and after it is
// made larger, and while it is.
func TestFilesystemGrowsWithItsDevice(t *testing.T) {
	device, file := looptest.New(t, 32<<20)
	b := newBench(t)
	b.bind("data", local("pv-data", device))
	t.Cleanup(func() { must(t, b.manager.TearDown("uid-p")) })
	b.tell("data", resource.MustParse("1Gi"), "")
	may, ran := mayGrow(t), make(chan string, 10)
	b.manager.run = func(ctx context.Context, program string, args ...string) error {
		defer func() { ran <- strings.Join(append([]string{program}, args...), " ") }()
		if !may {
			return nil
		}
		return run(ctx, program, args...)
	}
	pod := claiming("data")
	dir := b.setUp(pod, nil)["v"].HostPath
	before := sizeOf(t, dir)
	must(t, b.manager.TearDown("uid-p"))

	looptest.Enlarge(t, device, file, 64<<20)
	b.setUp(pod, nil)
	must(t, b.manager.TearDown("uid-p"))
	b.growTo("pv-data", "2Gi")
	pod.Spec.Volumes[0].PersistentVolumeClaim.ReadOnly = true
	b.setUp(pod, nil)
	must(t, b.manager.TearDown("uid-p"))
	if len(ran) > 0 {
		t.Errorf("run for a volume that has not grown, or for a pod that may not write: %s", <-ran)
	}

	pod.Spec.Volumes[0].PersistentVolumeClaim.ReadOnly = false
	b.tell("data", resource.MustParse("1Gi"), corev1.PersistentVolumeClaimNodeResizePending)
	b.setUp(pod, nil)
	b.setUp(pod, nil) // once is enough
	if got := <-ran; got != "resize2fs "+device || len(ran) > 0 {
		t.Errorf("run: %s, and %d more", got, len(ran))
	}
	grown := sizeOf(t, dir)
	if may && grown < before*3/2 {
		t.Errorf("the filesystem has %d bytes, and had %d before", grown, before)
	}
	claim := &corev1.PersistentVolumeClaim{}
	must(t, b.client.Get(t.Context(), "default", "data", claim))
	if s := claim.Status; s.Capacity.Storage().String() != "2Gi" || len(s.AllocatedResourceStatuses) != 0 || len(s.Conditions) != 0 {
		t.Errorf("the claim's status is %+v", s)
	}

	looptest.Enlarge(t, device, file, 128<<20)
	b.growTo("pv-data", "3Gi") // while the pod runs
	select {
	case got := <-ran:
		if got != "resize2fs "+device || may && sizeOf(t, dir) < grown*3/2 {
			t.Errorf("run: %s; the filesystem has %d bytes, and had %d before", got, sizeOf(t, dir), grown)
		}
	case <-time.After(20 * time.Second):
		t.Error("a filesystem in use was not made larger")
	}
}

// tell writes what a claim is told of its volume's size.
func (b *bench) tell(name string, size resource.Quantity, status corev1.ClaimResourceStatus) {
	b.t.Helper()
	claim := &corev1.PersistentVolumeClaim{}
	must(b.t, b.client.Get(b.t.Context(), "default", name, claim))
	claim.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: size}
	if status != "" {
		claim.Status.AllocatedResourceStatuses = map[corev1.ResourceName]corev1.ClaimResourceStatus{corev1.ResourceStorage: status}
		claim.Status.Conditions = []corev1.PersistentVolumeClaimCondition{{Type: corev1.PersistentVolumeClaimFileSystemResizePending, Status: corev1.ConditionTrue}}
	}
	must(b.t, b.client.UpdateStatus(b.t.Context(), claim))
}

func TestGrown(t *testing.T) {
	for _, tt := range []struct {
		told, has string
		status    corev1.ClaimResourceStatus
		want      bool
	}{
		{"1Gi", "2Gi", "", true},
		{"1Gi", "2Gi", corev1.PersistentVolumeClaimNodeResizePending, true},
		{"1Gi", "2Gi", corev1.PersistentVolumeClaimNodeResizeInProgress, true},
		{"1Gi", "2Gi", corev1.PersistentVolumeClaimControllerResizeInProgress, false},
		{"1Gi", "2Gi", corev1.PersistentVolumeClaimNodeResizeInfeasible, false},
		{"2Gi", "2Gi", corev1.PersistentVolumeClaimNodeResizePending, false},
		{"2Gi", "1Gi", "", false},
	} {
		b := bound{claim: &corev1.PersistentVolumeClaim{}, pv: &corev1.PersistentVolume{}}
		b.claim.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(tt.told)}
		b.claim.Status.AllocatedResourceStatuses = map[corev1.ResourceName]corev1.ClaimResourceStatus{corev1.ResourceStorage: tt.status}
		b.pv.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(tt.has)}
		if got := b.grown(); got != tt.want {
			t.Errorf("%s of %s, %q: %v", tt.told, tt.has, tt.status, got)
		}
	}
}

func TestGrowCommand(t *testing.T) {
	for fsType, want := range map[string][]string{
		"ext4":  {"resize2fs", "/dev/a"},
		"xfs":   {"xfs_growfs", "-d", "/mnt"},
		"btrfs": {"btrfs", "filesystem", "resize", "max", "/mnt"},
		"vfat":  nil,
	} {
		if got, err := growCommand(fsType, "/dev/a", "/mnt"); !slices.Equal(got, want) || (err == nil) != (want != nil) {
			t.Errorf("%s: %q, %v", fsType, got, err)
		}
	}
}
