package node

import (
	"context"
	"fmt"
	"maps"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/fencing"
	"navarch.dev/navarch/internal/heartbeat"
)

const (
	leaseNamespace = "kube-node-lease"
	leaseDuration  = 40 // seconds
	// withdrawTime bounds what an agent that ends does about its promise.
	withdrawTime = 2 * time.Second
)

// Fencing is what the Lease means to the node's pods.
type Fencing struct {
	// Promise is how long pods run on without a renewal; 0 is for ever. See
	// internal/fencing.
	Promise time.Duration
	// Renew notes when a renewal that succeeded was sent, and Lift that pods run
	// on without renewals. Now is the clock.
	Renew func(at time.Duration)
	Lift  func()
	Now   func() time.Duration
	// Begun says whether the fence has been renewed since the machine booted.
	Begun func() bool
	// Fenced says whether the promise is kept for all pods of the node.
	Fenced func() bool
	// Condemn gives up pods that may have been replaced. The Lease is not renewed
	// before it has succeeded.
	Condemn func(ctx context.Context, promise time.Duration) error
}

// leaseKeeper renews the node's Lease. Only its own goroutine uses it.
type leaseKeeper struct {
	*Node
	fencing Fencing
	lease   *coordinationv1.Lease
	// stores leads to another Store when this one does not renew the Lease.
	stores *client.Switcher
}

func (n *Node) newLeaseKeeper() *leaseKeeper {
	k := &leaseKeeper{Node: n, fencing: n.cfg.Fencing.orNone(), lease: n.emptyLease()}
	patience := renewInterval // as when etcd elects a leader
	if k.fencing.Promise > 0 {
		patience = 0 // the next attempt may be the last before pods are stopped
	}
	k.stores = client.NewSwitcher(n.cfg.OtherStore, k.retry(), patience)
	return k
}

// orNone is the fencing, or where it is the zero value, one that does nothing.
func (f Fencing) orNone() Fencing {
	if f.Renew != nil {
		return f
	}
	return Fencing{
		Renew: func(time.Duration) {}, Lift: func() {}, Now: func() time.Duration { return 0 },
		Begun: func() bool { return false }, Fenced: func() bool { return false },
		Condemn: func(context.Context, time.Duration) error { return nil },
	}
}

// RenewLease has the Lease renewed at once, as when what it says has changed: a
// promise that comes with the next renewal helps nobody before. It does not
// block.
func (n *Node) RenewLease() {
	select {
	case n.renewNow <- struct{}{}:
	default:
	}
}

func (n *Node) emptyLease() *coordinationv1.Lease {
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: leaseNamespace, Name: n.cfg.Name}}
}

// interval is how often the Lease is renewed, and how long one attempt may take.
func (k *leaseKeeper) interval() time.Duration {
	if k.fencing.Promise > 0 {
		return k.fencing.Promise / 4
	}
	return renewInterval
}

// retry is how long after a failure the next attempt begins.
func (k *leaseKeeper) retry() time.Duration {
	if k.fencing.Promise > 0 {
		return k.fencing.Promise / 20
	}
	return retryInterval
}

// run renews the Lease until ctx ends: at once, then at its phase of the
// interval. Failures, which meet all nodes at the same time, begin that anew; a
// renewal that was asked for in between does not move it.
func (k *leaseKeeper) run(ctx context.Context) {
	var due time.Time // of the next renewal; zero is not known yet
	for ctx.Err() == nil {
		begun := time.Now()
		err := k.renew(ctx)
		wait := k.retry()
		switch {
		case err != nil && ctx.Err() == nil:
			k.log.WarnContext(ctx, "the node's Lease was not renewed", "error", err)
			due = time.Time{}
			if k.stores.Failed(err) {
				wait = 0
			}
		case due.IsZero():
			due = begun.Add(k.phase(k.interval()))
		case !begun.Before(due):
			due = begun.Add(k.interval())
		}
		if !due.IsZero() {
			wait = time.Until(due)
		}
		if k.wait(ctx, wait) != nil {
			break
		}
	}
	if k.fencing.Promise > 0 {
		k.withdraw(ctx)
	}
}

// wait waits for the next renewal's time, or for a call to renew at once.
func (k *leaseKeeper) wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-k.renewNow:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// withdraw takes the promise back that pods do not run on without the agent.
func (k *leaseKeeper) withdraw(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawTime)
	defer cancel()
	k.fencing.Promise = 0
	for err := k.renew(ctx); err != nil; err = k.renew(ctx) {
		if sleep(ctx, withdrawTime/10) != nil {
			k.log.WarnContext(ctx, "the agent ends and cannot tell the Store: its pods will be stopped unless another takes over", "error", err)
			return
		}
	}
}

// renew writes the Lease with the present time: in one call while nobody else
// writes it. Whoever marked it did so in a write of his own; so a renewal that
// succeeds proves that there is no mark that has not been answered.
func (k *leaseKeeper) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, k.interval())
	defer cancel()
	if k.lease.ResourceVersion == "" {
		if err := k.read(ctx); err != nil {
			return err
		}
	}
	k.stamp()
	write := k.client.Update
	if k.lease.ResourceVersion == "" {
		write = k.client.Create
	}
	sent := k.fencing.Now()
	if err := write(ctx, k.lease); err != nil {
		k.lease = k.emptyLease() // read it again
		return err
	}
	if k.fencing.Promise > 0 {
		k.fencing.Renew(sent)
	} else {
		k.fencing.Lift()
	}
	k.stores.Succeeded()
	k.leasedOnce.Do(func() { close(k.leased) })
	return nil
}

// read takes the Lease up as it is. If it is marked, or gone although it was
// there, pods of this node may have been removed while nobody renewed it.
func (k *leaseKeeper) read(ctx context.Context) error {
	err := k.client.Get(ctx, leaseNamespace, k.cfg.Name, k.lease)
	absent := apierrors.IsNotFound(err)
	if err != nil && !absent {
		return err
	}
	promise, ok := fencing.Promise(k.lease)
	if !ok {
		promise = fencing.Shortest
	}
	if fencing.Marked(k.lease) || absent && k.fencing.Begun() {
		k.log.InfoContext(ctx, "the node was taken for lost: giving up pods that may have been replaced")
		if err := k.fencing.Condemn(ctx, promise); err != nil {
			k.lease = k.emptyLease()
			return fmt.Errorf("give up the pods that may have been replaced: %w", err)
		}
	}
	if absent {
		k.lease = k.emptyLease()
	}
	return nil
}

func (k *leaseKeeper) stamp() {
	now := metav1.NewMicroTime(time.Now())
	k.lease.Spec.HolderIdentity = ptr.To(k.cfg.Name)
	k.lease.Spec.LeaseDurationSeconds = ptr.To(int32(leaseDuration))
	k.lease.Spec.RenewTime = &now
	annotations := maps.Clone(k.lease.Annotations)
	if annotations == nil {
		annotations = make(map[string]string)
	}
	for _, own := range []string{fencing.MarkAnnotation, fencing.PromiseAnnotation, heartbeat.StreamAnnotation, heartbeat.BrokenAnnotation} {
		delete(annotations, own)
	}
	if k.fencing.Promise > 0 && k.fencing.Fenced() {
		annotations[fencing.PromiseAnnotation] = k.fencing.Promise.String()
	}
	if stream := k.stream.Load(); stream != nil {
		annotations[heartbeat.StreamAnnotation] = *stream
	}
	k.lease.Annotations = annotations
}
