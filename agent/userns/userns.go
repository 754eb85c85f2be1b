// Package userns gives pods users of their own (KEP-127): each has a range of the
// node's user and group IDs that is nobody else's, and its containers are in a
// user namespace in which these begin at 0. What is root in the pod is then
// nobody on the node.
//
// Files keep the IDs that the pod sees. A mount translates them (mount_setattr(2),
// MOUNT_ATTR_IDMAP), so that nothing has to be given to other owners, and a volume
// looks the same to a pod whatever range it has this time.
package userns

import (
	"errors"
	"fmt"
	"math"
	"syscall"
)

// Unit is what every range is a multiple of, and begins at a multiple of: then the
// lower half of an ID is the same inside and outside.
const Unit = 1 << 16

// Range is some of the node's user IDs, and the group IDs of the same numbers. ID n
// of the pod is First+n of the node.
type Range struct {
	First  uint32 `json:"first"`
	Length uint32 `json:"length"`
}

// String returns the first and the last ID.
func (r Range) String() string { return fmt.Sprintf("%d-%d", r.First, r.end()-1) }

func (r Range) end() uint64 { return uint64(r.First) + uint64(r.Length) }

func (r Range) overlaps(other Range) bool {
	return uint64(r.First) < other.end() && uint64(other.First) < r.end()
}

// Mappings say the same to the kernel.
func (r Range) Mappings() []syscall.SysProcIDMap {
	return []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(r.First), Size: int(r.Length)}}
}

// Default is every ID that a node may give to pods whose ranges have a length: all
// but those of the node's own users.
func Default(perPod uint32) Range {
	return Range{First: perPod, Length: math.MaxUint32/perPod*perPod - perPod}
}

// Share returns the part of a range that is left to the node of an index, from 0,
// among several that share a machine: their pods must not have the same IDs either.
func (r Range) Share(index, nodes int, perPod uint32) Range {
	each := r.Length / perPod / uint32(nodes) * perPod
	return Range{First: r.First + uint32(index)*each, Length: each}
}

// Validate says why a node cannot give pods ranges of a length out of r.
func (r Range) Validate(perPod uint32, maxPods int) error {
	switch {
	case perPod == 0 || perPod%Unit != 0:
		return fmt.Errorf("%d IDs per pod are not a multiple of %d", perPod, Unit)
	case r.First < Unit:
		return fmt.Errorf("the IDs %s are those of the node's own users, which end at %d", r, Unit-1)
	case r.First%Unit != 0 || r.Length%perPod != 0:
		return fmt.Errorf("the IDs %s do not begin at a multiple of %d, or are not a multiple of %d", r, Unit, perPod)
	case r.end() > 1<<32:
		return fmt.Errorf("the IDs from %d on are fewer than %d", r.First, r.Length)
	case int(r.Length/perPod) < maxPods:
		return fmt.Errorf("the IDs %s are enough for %d pods with %d each, not for %d", r, r.Length/perPod, perPod, maxPods)
	}
	return nil
}

// ErrNoMapping says that a filesystem does not translate IDs.
var ErrNoMapping = errors.New("the filesystem does not support mounts that map user IDs")
