package etcd

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// defragmentFrom is the size from which the embedded etcd's file is worth
// shrinking: when more than half of it is free.
const defragmentFrom = 128 << 20

// Compact implements backend.Backend. On the embedded etcd it also gives free
// space back and, once there is room again, lifts the alarm of a full quota.
func (b *Backend) Compact(ctx context.Context, revision int64) error {
	_, err := b.client.Compact(ctx, revision)
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("compact etcd at %d: %w", revision, translate(err))
	}
	if b.server == nil {
		return nil // an external cluster is its operators' to tend
	}
	return b.tend(ctx)
}

func (b *Backend) tend(ctx context.Context) error {
	db := b.server.etcd.Server.Backend()
	if size, used := db.Size(), db.SizeInUse(); size > defragmentFrom && used < size/2 {
		if err := db.Defrag(); err != nil {
			return fmt.Errorf("defragment etcd: %w", err)
		}
		b.log.InfoContext(ctx, "etcd's file was defragmented", "before", size, "after", db.Size())
	}
	if db.Size() > b.server.quota*9/10 {
		return nil
	}
	alarms, err := b.client.AlarmList(ctx)
	if err != nil {
		return fmt.Errorf("list etcd's alarms: %w", translate(err))
	}
	for _, a := range alarms.Alarms {
		if a.Alarm != etcdserverpb.AlarmType_NOSPACE {
			continue
		}
		if _, err := b.client.AlarmDisarm(ctx, (*clientv3.AlarmMember)(a)); err != nil {
			return fmt.Errorf("lift etcd's quota alarm: %w", translate(err))
		}
		b.log.InfoContext(ctx, "etcd takes writes again")
	}
	return nil
}
