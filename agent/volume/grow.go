package volume

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"navarch.dev/navarch/agent/objects"
	"navarch.dev/navarch/internal/kinds"
)

// grown says whether a volume has become larger than its claim was told, and a node
// is to do its part of that.
func (b bound) grown() bool {
	switch b.claim.Status.AllocatedResourceStatuses[corev1.ResourceStorage] {
	case "", corev1.PersistentVolumeClaimNodeResizePending, corev1.PersistentVolumeClaimNodeResizeInProgress:
		return b.claim.Status.Capacity.Storage().Cmp(*b.pv.Spec.Capacity.Storage()) < 0
	}
	return false // somebody else has yet to make it larger, or it cannot be
}

// growTime bounds how long a filesystem is made larger while a pod runs.
const growTime = 10 * time.Minute

// keepGrowing makes the filesystem of a pod's device, mounted at dir, as large as the
// device, now and whenever its volume or its claim has changed, as long as the pod
// has it.
func (m *Manager) keepGrowing(ctx context.Context, pod *corev1.Pod, volume string, b bound, dir string) error {
	if b.readOnly {
		return nil
	}
	device := b.pv.Spec.Local.Path
	if err := m.grow(ctx, b, device, dir); err != nil {
		return err
	}
	again := func() {
		ctx, cancel := context.WithTimeout(context.Background(), growTime)
		defer cancel()
		now, err := m.boundVolume(ctx, pod, b.claim.Name, false)
		if err == nil && m.isHeld(pod, volume) {
			err = m.grow(ctx, now, device, dir)
		}
		if err != nil {
			m.log.WarnContext(ctx, "the filesystem of a volume was not made larger", "namespace", pod.Namespace, "pod", pod.Name, "volume", b.pv.Name, "error", err)
		}
	}
	return m.objects.Retain(growthID(string(pod.UID), volume), objects.Bound(pod.Namespace, b.claim.Name, b.pv.Name), func() { go again() })
}

// growthID is by whom the objects of a pod's growing volume are followed.
func growthID(podUID, volume string) string { return podUID + "/" + volume }

// isHeld says whether a pod has a volume still, or is to have it.
func (m *Manager) isHeld(pod *corev1.Pod, volume string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.held[string(pod.UID)][volume]
	return ok
}

// stopGrowing ends what keepGrowing began for a pod.
func (m *Manager) stopGrowing(podUID string) {
	m.mu.Lock()
	volumes := slices.Collect(maps.Keys(m.held[podUID]))
	delete(m.held, podUID)
	m.mu.Unlock()
	for _, v := range volumes {
		m.objects.Release(growthID(podUID, v))
	}
}

// grow makes the filesystem of a device that is mounted as large as the device, if
// its volume has grown, and has the claim tell so.
func (m *Manager) grow(ctx context.Context, b bound, device, dir string) error {
	if !b.grown() || slices.Contains(b.pv.Spec.MountOptions, "ro") {
		return nil
	}
	m.devices.LockKey(device)
	defer func() { _ = m.devices.UnlockKey(device) }() // it is locked
	fsType, err := filesystemOf(ctx, device)
	if err != nil {
		return err
	}
	command, err := growCommand(fsType, device, dir)
	if err != nil {
		return err
	}
	if err := m.run(ctx, command[0], command[1:]...); err != nil {
		return fmt.Errorf("make the filesystem on %s as large as the device: %w", device, err)
	}
	m.log.InfoContext(ctx, "the filesystem of a volume was made as large as its device", "volume", b.pv.Name, "device", device)
	return m.tellGrown(ctx, b)
}

// growCommand is what makes a mounted filesystem as large as its device. These
// programs do nothing where it is so already.
func growCommand(fsType, device, dir string) ([]string, error) {
	switch fsType {
	case "ext2", "ext3", defaultFSType:
		return []string{"resize2fs", device}, nil
	case "xfs":
		return []string{"xfs_growfs", "-d", dir}, nil
	case "btrfs":
		return []string{"btrfs", "filesystem", "resize", "max", dir}, nil
	}
	return nil, fmt.Errorf("a filesystem of type %s, which is on the device %s, cannot be made larger", fsType, device)
}

// tellGrown writes into a claim's status that it has all of its volume.
func (m *Manager) tellGrown(ctx context.Context, b bound) error {
	claim := b.claim.DeepCopy()
	err := m.client.RetryOnConflict(ctx, claim, func() bool {
		if claim.UID != b.claim.UID {
			return false
		}
		setGrown(&claim.Status, *b.pv.Spec.Capacity.Storage())
		return true
	}, func(ctx context.Context, obj kinds.Object) error { return m.client.UpdateStatus(ctx, obj) })
	if err != nil {
		return fmt.Errorf("tell that the volume has grown: %w", err)
	}
	return nil
}

// setGrown makes a claim's status that of one of a size which nobody has yet to do
// anything for.
func setGrown(s *corev1.PersistentVolumeClaimStatus, size resource.Quantity) {
	if s.Capacity == nil {
		s.Capacity = make(corev1.ResourceList)
	}
	s.Capacity[corev1.ResourceStorage] = size
	delete(s.AllocatedResourceStatuses, corev1.ResourceStorage)
	s.Conditions = slices.DeleteFunc(s.Conditions, func(c corev1.PersistentVolumeClaimCondition) bool {
		switch c.Type {
		case corev1.PersistentVolumeClaimResizing, corev1.PersistentVolumeClaimFileSystemResizePending,
			corev1.PersistentVolumeClaimControllerResizeError, corev1.PersistentVolumeClaimNodeResizeError:
			return true
		}
		return false
	})
}
