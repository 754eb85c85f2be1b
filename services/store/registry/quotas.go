package registry

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/quota"
	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/cache"
)

// A new quota's use is counted by a controller, moments after it was made: a
// write that comes sooner waits for it this often and long.
const (
	countAttempts = 20
	countWait     = 50 * time.Millisecond
)

// quotas charges what is written to the ResourceQuotas of its namespace.
//
// The quotas' new status is committed in the transaction that writes the
// object, on condition that they are as they were when they were judged. So
// what is used never exceeds what is allowed, and a write that fails costs
// nothing, however many writers and Stores there are; and whoever counts again
// can do so against one revision. The price is that the charged writes of one
// namespace go one after another.
type quotas struct {
	registry *Registry
	kind     *kinds.Kind
	// owner is the Store's own name.
	owner string

	mu sync.Mutex // guards turns and what they hold but for their tokens
	// turns are the namespaces in which something is being charged.
	turns map[string]*turn
}

// turn lets one writer after another charge a namespace's quotas, so that they
// need not lose against each other.
type turn struct {
	// token is held by whoever's turn it is.
	token chan struct{}
	users int
	// latest are the quotas as written last, which the cache may not show yet.
	latest map[string]*cache.Version
}

// newQuotas returns nil where there is no such kind.
func newQuotas(r *Registry) *quotas {
	kind, ok := r.Kinds.ForResource(schema.GroupVersionResource{Version: "v1", Resource: "resourcequotas"})
	if !ok {
		return nil
	}
	return &quotas{registry: r, kind: kind, owner: identity.Service(identity.Store).Name, turns: make(map[string]*turn)}
}

// charge is what a write costs. A nil charge costs nothing.
type charge struct {
	quotas    *quotas
	namespace string
	turn      *turn
	drafts    []*cache.Draft
	ops       []backend.Op
	once      sync.Once
}

// cost is what a write adds to one quota.
type cost struct {
	quota *cache.Version
	more  corev1.ResourceList
}

// charge judges a write by the quotas of its namespace. If it costs anything,
// the charge must be committed with it, settled, and released in any case.
func (q *quotas) charge(ctx context.Context, w Write, obj, old kinds.Object) (*charge, error) {
	if q == nil || !q.concerns(w, obj, old) {
		return nil, nil
	}
	costs, err := q.costs(ctx, w, obj, old)
	if err != nil || len(costs) == 0 {
		return nil, err
	}
	if w.DryRun {
		_, err := q.judge(w, costs)
		return nil, err
	}
	c := &charge{quotas: q, namespace: w.Namespace}
	if c.turn, err = q.take(ctx, w.Namespace); err != nil {
		return nil, err
	}
	err = c.weigh(ctx, w, obj, old)
	if apierrors.IsForbidden(err) {
		// Nothing is refused on the word of a cache that may be behind.
		if err = c.catchUp(ctx); err == nil {
			err = c.weigh(ctx, w, obj, old)
		}
	}
	if err != nil || len(c.ops) == 0 {
		c.release()
		return nil, err
	}
	return c, nil
}

// weigh makes the operations that charge a write to the quotas as they are
// known. Others went first: what it costs is looked at again.
func (c *charge) weigh(ctx context.Context, w Write, obj, old kinds.Object) error {
	q := c.quotas
	costs, err := q.costs(ctx, w, obj, old)
	if err != nil {
		return err
	}
	costs = q.newest(c.turn, costs)
	if c.drafts, err = q.judge(w, costs); err != nil {
		return err
	}
	for i, d := range c.drafts {
		q.cache().Expect(d)
		c.ops = append(c.ops, backend.Op{Type: backend.Put, Key: d.Key(), Value: d.Value(), Expect: costs[i].quota.Revision})
	}
	return nil
}

// catchUp forgets what is known of the quotas and waits for what is so.
func (c *charge) catchUp(ctx context.Context) error {
	c.quotas.mu.Lock()
	clear(c.turn.latest)
	c.quotas.mu.Unlock()
	return c.quotas.cache().Fresh(ctx)
}

func (q *quotas) cache() *cache.Cache { return q.registry.Cache(q.kind) }

// concerns says whether a write can cost anything: every new object does, but
// only some can grow. What the Store makes for itself is counted later: no
// quota may keep a cluster from starting.
func (q *quotas) concerns(w Write, obj, old kinds.Object) bool {
	if !quota.Counts(w.Kind) || w.Subresource == "status" || w.User.Name == q.owner {
		return false
	}
	if old == nil {
		return true
	}
	switch obj.(type) {
	case *corev1.Pod, *corev1.PersistentVolumeClaim, *corev1.Service:
		return true
	}
	return false
}

// costs returns what a write adds to each quota, as far as it adds anything.
// It waits for quotas that nobody has counted yet.
func (q *quotas) costs(ctx context.Context, w Write, obj, old kinds.Object) ([]cost, error) {
	for attempt := 1; ; attempt++ {
		costs, uncounted, err := q.estimate(ctx, w, obj, old)
		if err != nil || uncounted == "" {
			return costs, err
		}
		if attempt == countAttempts {
			return nil, refused(w, uncounted)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(countWait):
		}
	}
}

// estimate is costs without waiting; uncounted says what is not known yet.
func (q *quotas) estimate(ctx context.Context, w Write, obj, old kinds.Object) (costs []cost, uncounted string, err error) {
	if err := q.cache().Settled(ctx); err != nil {
		return nil, "", fmt.Errorf("read the quotas of %s: %w", w.Namespace, err)
	}
	now, devices := time.Now(), &quotaDevices{ctx: ctx, reader: settledReader{q.registry.Reader()}}
	var usage corev1.ResourceList
	judge := func(v *cache.Version) bool {
		rq, ok := v.Object().(*corev1.ResourceQuota)
		if !ok {
			return true
		}
		names := quota.Names(w.Kind, rq.Spec.Hard)
		if len(names) == 0 || !quota.InScope(&rq.Spec, obj) {
			return true
		}
		if usage == nil {
			usage = quota.Usage(w.Kind, obj, now, devices)
		}
		var before corev1.ResourceList
		if old != nil && quota.InScope(&rq.Spec, old) {
			before = quota.Usage(w.Kind, old, now, devices)
		}
		more := quota.Growth(before, usage, names)
		if len(more) == 0 && old != nil {
			return true
		}
		if pod, ok := obj.(*corev1.Pod); ok {
			if err = quota.CheckSpecified(names, pod); err != nil {
				err = refused(w, fmt.Sprintf("failed quota: %s: %v", rq.Name, err))
				return false
			}
		}
		if lacking := slices.ContainsFunc(names, func(n corev1.ResourceName) bool { _, ok := rq.Status.Used[n]; return !ok }); lacking {
			uncounted = fmt.Sprintf("status unknown for quota: %s, resources: %s", rq.Name, joinNames(names))
			return false
		}
		if len(more) > 0 {
			costs = append(costs, cost{v, more})
		}
		return true
	}
	snapshotErr := q.cache().Snapshot().Ascend(ctx, q.registry.KeyPrefix(q.kind, w.Namespace), "", judge)
	if err == nil {
		err = snapshotErr
	}
	if err == nil {
		err = devices.err
	}
	return costs, uncounted, err
}

func joinNames(names []corev1.ResourceName) string {
	parts := make([]string, len(names))
	for i, n := range names {
		parts[i] = string(n)
	}
	return strings.Join(parts, ",")
}

func refused(w Write, why string) error {
	return apierrors.NewForbidden(w.Kind.GroupResource(), w.Name, fmt.Errorf("%s", why))
}

// judge returns the quotas with the costs added, or why they cannot be.
func (q *quotas) judge(w Write, costs []cost) ([]*cache.Draft, error) {
	var drafts []*cache.Draft
	for _, c := range costs {
		charged := c.quota.Object().(*corev1.ResourceQuota).DeepCopy()
		used, err := quota.Charge(charged, c.more)
		if err != nil {
			return nil, refused(w, err.Error())
		}
		charged.Status.Used = used
		draft, err := cache.NewDraft(q.kind, c.quota.Key, charged, cache.Envelope{Trace: c.quota.Trace, Writer: w.writer(time.Now())})
		if err != nil {
			return nil, err
		}
		drafts = append(drafts, draft)
	}
	return drafts, nil
}

// newest replaces quotas by what was written last in this turn.
func (q *quotas) newest(t *turn, costs []cost) []cost {
	q.mu.Lock()
	defer q.mu.Unlock()
	costs = slices.Clone(costs)
	for i, c := range costs {
		if v := t.latest[c.quota.Key]; v != nil && v.Revision > c.quota.Revision {
			costs[i].quota = v
		}
	}
	return costs
}

// take waits for the namespace's turn.
func (q *quotas) take(ctx context.Context, namespace string) (*turn, error) {
	q.mu.Lock()
	t := q.turns[namespace]
	if t == nil {
		t = &turn{token: make(chan struct{}, 1), latest: make(map[string]*cache.Version)}
		q.turns[namespace] = t
	}
	t.users++
	q.mu.Unlock()
	select {
	case t.token <- struct{}{}:
		return t, nil
	case <-ctx.Done():
		q.leave(namespace, t)
		return nil, ctx.Err()
	}
}

func (q *quotas) leave(namespace string, t *turn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t.users--; t.users > 0 {
		return
	}
	// Until the cache shows what was written last, the next writer needs it.
	reached := q.cache().Revision()
	for _, v := range t.latest {
		if v.Revision > reached {
			return
		}
	}
	delete(q.turns, namespace)
}

// operations returns what is to be committed with the write.
func (c *charge) operations() []backend.Op {
	if c == nil {
		return nil
	}
	return c.ops
}

// settle takes note of the outcome of the commit of all operations. If that was
// lost, the cache is brought up to date before the next writer judges by it.
func (c *charge) settle(ctx context.Context, all []backend.Op, result backend.Result, err error) {
	if c == nil {
		return
	}
	q := c.quotas
	if err != nil || !result.Committed {
		_ = c.catchUp(ctx) // if that fails, so does the next commit
		return
	}
	written := make(map[string]*cache.Version)
	for _, d := range c.drafts {
		own := slices.IndexFunc(all, func(op backend.Op) bool { return op.Key == d.Key() })
		if v := d.At(result.Of(own)); v != nil {
			written[d.Key()] = v
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	maps.Copy(c.turn.latest, written)
}

// release lets the next writer judge. It may be called again.
func (c *charge) release() {
	if c == nil {
		return
	}
	c.once.Do(func() {
		for _, d := range c.drafts {
			c.quotas.cache().Settle(d)
		}
		<-c.turn.token
		c.quotas.leave(c.namespace, c.turn)
	})
}
