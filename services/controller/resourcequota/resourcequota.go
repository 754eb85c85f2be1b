// Package resourcequota counts what is used of ResourceQuotas.
//
// The Store adds to status.used whatever is created, in the transaction that
// creates it. What nobody tells it is when something ends: this reconciler
// counts again when objects go, when pods end, when what a quota allows changes,
// and every few minutes. What the Store charges changes the quota as well, and
// is no reason to count: a namespace would be counted as often as it grows.
//
// What is written is conditional on the version of the quota that it was counted
// for, and nothing is lowered on the word of a copy that may lack an object that
// this version includes; so no object is ever forgotten.
package resourcequota

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/cache"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/quota"
	"navarch.dev/navarch/services/controller/inventory"
	"navarch.dev/navarch/services/controller/runner"
)

const (
	// recount is how often a quota is counted although nothing has changed.
	recount = 5 * time.Minute
	// settle is how long after its first count a quota is counted again: what
	// was being written before the Store knew of it is there by then.
	settle = 5 * time.Second
)

type reconciler struct {
	client   *client.Client
	quotas   *client.Informer[*corev1.ResourceQuota]
	pods     *client.Informer[*corev1.Pod]
	claims   *client.Informer[*corev1.PersistentVolumeClaim]
	services *client.Informer[*corev1.Service]
	devices  *devices
	others   *inventory.Inventory
	pace     pace
	patience patience
	shares   shares
}

// New returns the controller. Its keys name quotas.
func New(deps runner.Deps, others *inventory.Inventory) (*runner.Controller, error) {
	r := &reconciler{client: deps.Client, others: others}
	var err error
	if r.quotas, err = client.InformerFor[*corev1.ResourceQuota](deps.Informers, nil); err != nil {
		return nil, err
	}
	if r.pods, err = client.InformerFor[*corev1.Pod](deps.Informers, nil); err != nil {
		return nil, err
	}
	if r.claims, err = client.InformerFor[*corev1.PersistentVolumeClaim](deps.Informers, nil); err != nil {
		return nil, err
	}
	if r.services, err = client.InformerFor[*corev1.Service](deps.Informers, nil); err != nil {
		return nil, err
	}
	if r.devices, err = newDevices(deps.Informers, r.pods); err != nil {
		return nil, err
	}
	c := runner.New("resourcequota", r, deps, runner.Options{Trace: r.quotas.TraceContext})
	runner.Watch(c, r.quotas, runner.Input[*corev1.ResourceQuota]{Keys: runner.Self[*corev1.ResourceQuota], Changed: needsCount})
	registry := kinds.Default()
	if err := follow(c, r, registry, r.pods); err != nil {
		return nil, err
	}
	if err := follow(c, r, registry, r.claims); err != nil {
		return nil, err
	}
	if err := follow(c, r, registry, r.services); err != nil {
		return nil, err
	}
	if err := follow(c, r, registry, r.devices.claims); err != nil {
		return nil, err
	}
	r.devices.tell(func() { r.enqueueAll(c, r.devices.claims.Kind()) })
	others.AddHandler(inventory.Handler{
		OnAdd: func(inventory.Found) {}, OnUpdate: func(*inventory.Object, inventory.Found) {},
		OnDelete: func(obj inventory.Found) { r.enqueue(c, obj.Kind, obj.Namespace) },
	})
	return c, nil
}

// needsCount says whether an update of a quota asks for a count: what it allows
// or takes in is another, or its status does not say what is used of all of it.
// All other updates are charges of the Store and what was counted here.
func needsCount(old, q *corev1.ResourceQuota) bool {
	return !isCounted(q) || !quota.Equal(q.Spec.Hard, old.Spec.Hard) ||
		!slices.Equal(q.Spec.Scopes, old.Spec.Scopes) || !equality.Semantic.DeepEqual(q.Spec.ScopeSelector, old.Spec.ScopeSelector)
}

// isCounted says whether a quota's status says what is used of all that it
// allows.
func isCounted(q *corev1.ResourceQuota) bool {
	for name := range q.Spec.Hard {
		if _, ok := q.Status.Used[name]; !ok {
			return false
		}
	}
	return quota.Equal(q.Spec.Hard, q.Status.Hard)
}

// follow recounts when an object of a kind comes to count for something else.
// What is new was charged when it was made.
func follow[T kinds.Object](c *runner.Controller, r *reconciler, registry *kinds.Registry, informer *client.Informer[T]) error {
	var zero T
	kind, err := registry.ForObject(zero)
	if err != nil {
		return err
	}
	informer.AddHandler(client.Handler[T]{
		OnUpdate: func(old, obj T) {
			if len(r.quotas.InNamespace(obj.GetNamespace())) == 0 {
				return
			}
			now := time.Now()
			ending := old.GetDeletionTimestamp() == nil && obj.GetDeletionTimestamp() != nil
			if ending || !quota.Equal(quota.Usage(kind, old, now, r.devices), quota.Usage(kind, obj, now, r.devices)) || !sameScopes(old, obj) {
				r.enqueue(c, kind, obj.GetNamespace())
			}
		},
		OnDelete: func(obj T) { r.enqueue(c, kind, obj.GetNamespace()) },
	})
	return nil
}

// sameScopes says whether a change moves an object between scopes of quotas.
func sameScopes(old, obj kinds.Object) bool {
	switch o := obj.(type) {
	case *corev1.Pod:
		was, ok := old.(*corev1.Pod)
		return ok && (was.Spec.ActiveDeadlineSeconds == nil) == (o.Spec.ActiveDeadlineSeconds == nil)
	case *corev1.PersistentVolumeClaim:
		was, ok := old.(*corev1.PersistentVolumeClaim)
		return ok && equality.Semantic.DeepEqual(was.Spec.VolumeAttributesClassName, o.Spec.VolumeAttributesClassName) &&
			equality.Semantic.DeepEqual(was.Status.CurrentVolumeAttributesClassName, o.Status.CurrentVolumeAttributesClassName) &&
			equality.Semantic.DeepEqual(was.Status.ModifyVolumeStatus, o.Status.ModifyVolumeStatus)
	}
	return true
}

// enqueue has the quotas of a namespace recounted that count objects of a
// kind.
func (r *reconciler) enqueue(c *runner.Controller, kind *kinds.Kind, namespace string) {
	if !quota.Counts(kind) {
		return
	}
	r.recount(c, kind, r.quotas.InNamespace(namespace))
}

// enqueueAll has all quotas recounted that count objects of a kind.
func (r *reconciler) enqueueAll(c *runner.Controller, kind *kinds.Kind) {
	r.recount(c, kind, r.quotas.List())
}

func (r *reconciler) recount(c *runner.Controller, kind *kinds.Kind, quotas []*corev1.ResourceQuota) {
	for _, q := range quotas {
		if len(quota.Names(kind, q.Spec.Hard)) > 0 {
			key := cache.MetaObjectToName(q).String()
			c.EnqueueAfter(key, r.pace.after(key))
		}
	}
}

// Reconcile counts what is used of a quota.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	q, ok := r.quotas.GetByKey(key)
	if !ok {
		r.pace.took(key, 0)
		r.patience.end(key)
		r.shares.forget(key)
		return runner.Done(), nil
	}
	if isCounted(q) && r.lacks(q) && r.patience.wait(key) {
		return runner.RequeueAfter(catchUp), nil
	}
	r.patience.end(key)
	begun := time.Now()
	count, err := r.count(ctx, q)
	r.pace.took(key, time.Since(begun))
	if err != nil {
		return runner.Done(), fmt.Errorf("count what is used of quota %s: %w", key, err)
	}
	next := runner.RequeueAfter(recount).Sooner(runner.RequeueAfter(count.until))
	if quota.Equal(q.Spec.Hard, q.Status.Hard) && quota.Equal(q.Status.Used, count.used) {
		return next, nil
	}
	if !quota.Equal(q.Spec.Hard, q.Status.Hard) {
		next = next.Sooner(runner.RequeueAfter(settle))
	}
	counted := q.DeepCopy()
	counted.Status = corev1.ResourceQuotaStatus{Hard: q.Spec.Hard.DeepCopy(), Used: count.used}
	err = r.client.UpdateStatus(ctx, counted)
	if err != nil && !apierrors.IsNotFound(err) {
		return runner.Done(), fmt.Errorf("write what is used of quota %s: %w", key, err)
	}
	return next, nil
}
