package resourcequota

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/quota"
)

// count is what is used of a quota.
type count struct {
	used corev1.ResourceList
	// until is when that will change by itself; 0 is never.
	until time.Duration
}

// count adds up what counts for a quota. Names that nothing counts for stay
// zero.
func (r *reconciler) count(ctx context.Context, q *corev1.ResourceQuota) (count, error) {
	c := count{used: corev1.ResourceList{}}
	for name := range q.Spec.Hard {
		c.used[name] = resource.Quantity{Format: resource.DecimalSI}
	}
	for _, kind := range r.others.Kinds() {
		names := quota.Names(kind, q.Spec.Hard)
		if !quota.Counts(kind) || len(names) == 0 {
			continue
		}
		if err := r.countKind(ctx, q, kind, names, &c); err != nil {
			return c, err
		}
	}
	return c, nil
}

// lacks says whether a copy may lack objects that the quota's version includes.
func (r *reconciler) lacks(q *corev1.ResourceQuota) bool {
	return slices.ContainsFunc(r.others.Kinds(), func(kind *kinds.Kind) bool {
		return quota.Counts(kind) && len(quota.Names(kind, q.Spec.Hard)) > 0 && !r.hasReached(kind, q.ResourceVersion)
	})
}

// hasReached says whether the copy that objects of a kind are counted in holds
// every change up to a version.
func (r *reconciler) hasReached(kind *kinds.Kind, version string) bool {
	switch kind.GVK() {
	case r.pods.Kind().GVK():
		return r.pods.HasReached(version)
	case r.claims.Kind().GVK():
		return r.claims.HasReached(version)
	case r.services.Kind().GVK():
		return r.services.HasReached(version)
	case r.devices.claims.Kind().GVK():
		return r.devices.claims.HasReached(version)
	}
	return r.others.HasReached(kind, version)
}

// countKind adds what objects of one kind use.
func (r *reconciler) countKind(ctx context.Context, q *corev1.ResourceQuota, kind *kinds.Kind, names []corev1.ResourceName, c *count) error {
	switch kind.GVK() {
	case corev1.SchemeGroupVersion.WithKind("Pod"):
		pods, copied, err := present(ctx, r, q, r.pods, &corev1.PodList{}, func(l *corev1.PodList) []corev1.Pod { return l.Items })
		r.addPods(c, q, kind, names, pods, copied)
		return err
	case corev1.SchemeGroupVersion.WithKind("PersistentVolumeClaim"):
		claims, _, err := present(ctx, r, q, r.claims, &corev1.PersistentVolumeClaimList{},
			func(l *corev1.PersistentVolumeClaimList) []corev1.PersistentVolumeClaim { return l.Items })
		r.add(c, q, kind, names, asObjects(claims))
		return err
	case corev1.SchemeGroupVersion.WithKind("Service"):
		services, _, err := present(ctx, r, q, r.services, &corev1.ServiceList{}, func(l *corev1.ServiceList) []corev1.Service { return l.Items })
		r.add(c, q, kind, names, asObjects(services))
		return err
	case resourcev1.SchemeGroupVersion.WithKind("ResourceClaim"):
		claims, _, err := present(ctx, r, q, r.devices.claims, &resourcev1.ResourceClaimList{},
			func(l *resourcev1.ResourceClaimList) []resourcev1.ResourceClaim { return l.Items })
		r.add(c, q, kind, names, asObjects(claims))
		return err
	}
	if quota.Scoped(&q.Spec) {
		return nil // scopes are about pods and claims
	}
	number := len(r.others.InNamespace(kind, q.Namespace))
	if !r.others.HasReached(kind, q.ResourceVersion) {
		live, err := r.client.ListMetadata(ctx, kind, q.Namespace)
		if err != nil {
			return fmt.Errorf("list %s: %w", kind.Resource, err)
		}
		number = len(live)
	}
	for _, name := range names {
		c.used[name] = *resource.NewQuantity(int64(number), resource.DecimalSI)
	}
	return nil
}

// present returns a namespace's objects, none missing that the quota's version
// includes: from the informer's copy if that has come so far, else from the Store.
func present[T kinds.Object, L kinds.List, I any](
	ctx context.Context, r *reconciler, q *corev1.ResourceQuota, informer *client.Informer[T], list L, items func(L) []I,
) (all []T, copied bool, err error) {
	if informer.HasReached(q.ResourceVersion) {
		return informer.InNamespace(q.Namespace), true, nil
	}
	if err := r.client.List(ctx, list, client.ListOptions{Namespace: q.Namespace}); err != nil {
		return nil, false, fmt.Errorf("list %s: %w", informer.Kind().Resource, err)
	}
	found := items(list)
	for i := range found {
		if obj, ok := any(&found[i]).(T); ok {
			all = append(all, obj)
		}
	}
	return all, false, nil
}

func asObjects[T kinds.Object](list []T) []kinds.Object {
	out := make([]kinds.Object, len(list))
	for i, obj := range list {
		out[i] = obj
	}
	return out
}

// add adds up what objects of a kind count for, as far as the quota is about
// them.
func (r *reconciler) add(c *count, q *corev1.ResourceQuota, kind *kinds.Kind, names []corev1.ResourceName, objs []kinds.Object) {
	now := time.Now()
	for _, obj := range objs {
		if !quota.InScope(&q.Spec, obj) {
			continue
		}
		usage := quota.Usage(kind, obj, now, r.devices)
		for name := range usage {
			if !slices.Contains(names, name) {
				delete(usage, name)
			}
		}
		quota.Add(c.used, usage)
	}
}

// changesWith notes when a pod that is being deleted ceases to count.
func (c *count) changesWith(pod *corev1.Pod, now time.Time) {
	end, ending := quota.Overdue(pod)
	left := end.Sub(now)
	if ending && left > 0 && (c.until == 0 || left < c.until) {
		c.until = left + time.Second
	}
}
