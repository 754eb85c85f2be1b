package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"navarch.dev/navarch/services/store/backend"
)

// defragmentFrom is the size from which the embedded etcd's file is worth
// shrinking: when more than half of it is free.
const defragmentFrom = 128 << 20

// Compact implements backend.Backend. On the embedded etcd it also gives free
// space back and, once there is room again, lifts the alarm of a full quota.
func (b *Backend) Compact(ctx context.Context, revision int64) error {
	var options []clientv3.CompactOption
	if b.server != nil {
		if !b.server.room.has(0) {
			return fmt.Errorf("compact etcd at %d: %w", revision, backend.ErrNoSpace)
		}
		options = append(options, clientv3.WithCompactPhysical()) // what is free is looked at next
	}
	// Of the transaction of the revision itself some changes may come later: the state
	// before it is kept, too.
	transaction := max(revision>>slotBits-1, 1)
	_, err := b.client.Compact(ctx, transaction, options...)
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("compact etcd at %d: %w", revision, translate(err))
	}
	if b.server == nil {
		return nil // an external cluster is its operators' to tend
	}
	return b.tend(ctx)
}

func (b *Backend) tend(ctx context.Context) error {
	alarms, err := b.quotaAlarms(ctx)
	if err != nil {
		return err
	}
	if err := b.defragment(ctx, len(alarms) > 0); err != nil {
		return err
	}
	if b.server.etcd.Server.Backend().Size() > b.server.roomy() {
		return nil
	}
	for _, a := range alarms {
		if _, err := b.client.AlarmDisarm(ctx, (*clientv3.AlarmMember)(a)); err != nil {
			return fmt.Errorf("lift etcd's quota alarm: %w", translate(err))
		}
		b.log.InfoContext(ctx, "etcd takes writes again")
	}
	return nil
}

// quotaAlarms returns the alarms that say that the quota is used up.
func (b *Backend) quotaAlarms(ctx context.Context) ([]*etcdserverpb.AlarmMember, error) {
	resp, err := b.client.AlarmList(ctx)
	if err != nil {
		return nil, fmt.Errorf("list etcd's alarms: %w", translate(err))
	}
	return slices.DeleteFunc(resp.Alarms, func(a *etcdserverpb.AlarmMember) bool {
		return a.Alarm != etcdserverpb.AlarmType_NOSPACE
	}), nil
}

// defragment shrinks etcd's file to what it holds, if that is worth it: the file
// counts against the quota, free pages included. Where the new file has no room
// beside the old one, the old one stays.
func (b *Backend) defragment(ctx context.Context, full bool) error {
	db := b.server.etcd.Server.Backend()
	db.ForceCommit() // pages that a compaction has freed count from then on
	size, used := db.Size(), db.SizeInUse()
	worthIt := size > defragmentFrom && used < size/2 || full && size > b.server.roomy() && used < b.server.roomy()
	if !worthIt || !b.server.room.has(used) {
		return nil
	}
	if err := db.Defrag(); err != nil {
		return fmt.Errorf("defragment etcd: %w", err)
	}
	b.log.InfoContext(ctx, "etcd's file was defragmented", "before", size, "after", db.Size())
	return nil
}

// roomy is the size of the file at which an etcd that was full takes writes again.
func (s *server) roomy() int64 { return s.quota / 10 * 9 }
