package etcd

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"navarch.dev/navarch/services/store/backend"
)

const (
	// reserved is how much of its disk the embedded etcd keeps free, for the
	// next segment of its log (64 MiB) and for pages of its database.
	reserved = 96 << 20
	// reservedUrgent is what urgent writes leave.
	reservedUrgent = 32 << 20
)

// room watches the space on the embedded etcd's disk. An etcd that cannot write
// ends its process, and with it all that could still be read. So writes are
// refused while there is still room for what etcd needs for itself.
type room struct {
	dir string
	log *slog.Logger
	// free returns how many bytes can still be written below a folder.
	free func(dir string) (uint64, error)
	low  atomic.Bool // as it was last found and logged
}

func newRoom(dir string, log *slog.Logger) *room {
	return &room{dir: dir, log: log, free: freeSpace}
}

// admit refuses a transaction that would take up space which is reserved.
func (r *room) admit(ctx context.Context, ops []backend.Op) error {
	needed := neededFree(ops)
	if needed == 0 {
		return nil
	}
	free, err := r.free(r.dir)
	if err != nil {
		return nil //nolint:nilerr // What the disk holds is etcd's to find out then.
	}
	if low := free < reserved; r.low.CompareAndSwap(!low, low) {
		r.tell(ctx, low, free)
	}
	if free < needed {
		return fmt.Errorf("%w: %d MiB are left on the disk of %s, and %d MiB are kept for etcd itself", backend.ErrNoSpace, free>>20, r.dir, reserved>>20)
	}
	return nil
}

func (r *room) tell(ctx context.Context, low bool, free uint64) {
	if low {
		r.log.WarnContext(ctx, "etcd's disk is nearly full, writes are refused", "dir", r.dir, "free", free, "reserved", reserved)
		return
	}
	r.log.InfoContext(ctx, "etcd's disk has room again", "dir", r.dir, "free", free)
}

// has says whether so many bytes can be written and what is reserved stays.
func (r *room) has(bytes int64) bool {
	free, err := r.free(r.dir)
	return err == nil && free >= uint64(bytes)+reservedUrgent
}

// neededFree returns how much space must be free for a transaction: none for one
// that only removes keys, as with etcd's own quota.
func neededFree(ops []backend.Op) uint64 {
	var needed uint64
	for _, op := range ops {
		switch {
		case op.Type != backend.Put:
		case op.Urgent:
			needed = max(needed, reservedUrgent)
		default:
			needed = reserved
		}
	}
	return needed
}

// freeSpace returns what this process can still write: root uses what others may
// not.
func freeSpace(dir string) (uint64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, fmt.Errorf("look at the disk of %s: %w", dir, err)
	}
	blocks := fs.Bavail
	if os.Geteuid() == 0 {
		blocks = fs.Bfree
	}
	return blocks * uint64(fs.Bsize), nil //nolint:gosec // A block has a size.
}
