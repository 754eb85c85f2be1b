package leader

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"navarch.dev/navarch/internal/client"
)

// lock keeps the election's record in a Lease. client-go's elector uses it
// from one goroutine; it implements resourcelock.Interface.
type lock struct {
	client          *client.Client
	namespace, name string
	identity        string
	// stores leads to another Store when this one does not answer an attempt within
	// attempt: a holder loses the Lease if it stays.
	stores  *client.Switcher
	attempt time.Duration
	// lease is the version last read or written.
	lease *coordinationv1.Lease
}

func newLock(cfg Config) *lock {
	l := &lock{
		client: cfg.Client, namespace: cfg.Namespace, name: cfg.Name, identity: cfg.Identity,
		stores: client.NewSwitcher(cfg.OtherStore, cfg.RetryPeriod, 0), attempt: cfg.RenewDeadline,
	}
	if cfg.OtherStore != nil {
		l.attempt /= 2 // which leaves time for another Store
	}
	return l
}

// try makes a call of the Store.
func (l *lock) try(ctx context.Context, call func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, l.attempt)
	defer cancel()
	err := call(ctx)
	if err == nil {
		l.stores.Succeeded()
	} else {
		l.stores.Failed(err)
	}
	return err
}

// Get reads the record, and its bytes to compare it by.
func (l *lock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	lease := &coordinationv1.Lease{}
	if err := l.try(ctx, func(ctx context.Context) error { return l.client.Get(ctx, l.namespace, l.name, lease) }); err != nil {
		return nil, nil, err // unwrapped: the elector asks whether it is NotFound
	}
	l.lease = lease
	record := resourcelock.LeaseSpecToLeaderElectionRecord(&lease.Spec)
	raw, err := json.Marshal(record)
	if err != nil {
		return nil, nil, fmt.Errorf("encode election record: %w", err)
	}
	return record, raw, nil
}

// Create makes the Lease.
func (l *lock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: l.name},
		Spec:       resourcelock.LeaderElectionRecordToLeaseSpec(&record),
	}
	if err := l.try(ctx, func(ctx context.Context) error { return l.client.Create(ctx, lease) }); err != nil {
		return err
	}
	l.lease = lease
	return nil
}

// Update writes the record over the version last seen; another's write since
// then is a conflict.
func (l *lock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	if l.lease == nil {
		return errors.New("update of a lease that was never read")
	}
	lease := l.lease.DeepCopy()
	lease.Spec = resourcelock.LeaderElectionRecordToLeaseSpec(&record)
	if err := l.try(ctx, func(ctx context.Context) error { return l.client.Update(ctx, lease) }); err != nil {
		return err
	}
	l.lease = lease
	return nil
}

// release frees the Lease if it is still held. That another has taken it, or
// that the Store cannot be reached, is no error: the Lease then runs out.
func (l *lock) release(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	record, _, err := l.Get(ctx)
	if err != nil || record.HolderIdentity != l.identity {
		return nil
	}
	record.HolderIdentity = ""
	record.LeaseDurationSeconds = 1
	record.RenewTime = metav1.Now()
	err = l.Update(ctx, *record)
	if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) {
		return fmt.Errorf("release: %w", err)
	}
	return nil
}

// RecordEvent is told what happens; the elector logs the same.
func (l *lock) RecordEvent(string) {}

// Identity is this candidate's.
func (l *lock) Identity() string { return l.identity }

// Describe names the Lease in log lines.
func (l *lock) Describe() string { return l.namespace + "/" + l.name }
