package volume

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

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

// grow makes the filesystem of a device that is mounted as large as the device, if
// its volume has grown, and has the claim tell so.
func (m *Manager) grow(ctx context.Context, b bound, device, dir string) error {
	if b.readOnly || !b.grown() || slices.Contains(b.pv.Spec.MountOptions, "ro") {
		return nil
	}
	m.formatting.Lock()
	defer m.formatting.Unlock()
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
