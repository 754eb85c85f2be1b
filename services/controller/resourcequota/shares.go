package resourcequota

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/tools/cache"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/quota"
)

// share is what a pod counts for in a quota, in the order of the names that it
// counts for; nil is nothing.
type share []resource.Quantity

// shares remembers what pods count for in quotas. Nearly all pods of a namespace are
// what they were when it was counted last, and to work out what one asks for costs
// ten times as much as to add it up.
type shares struct {
	mu    sync.Mutex
	byKey map[string]*known
}

// known is what is known of one quota's pods, as it is specified.
type known struct {
	spec corev1.ResourceQuotaSpec
	// pods are those of the informer's copy, by identity: one that changes is
	// another. Those that are being deleted are left out, as they come to count for
	// something else by themselves.
	pods map[*corev1.Pod]share
}

// of returns what is known of a quota's pods.
func (s *shares) of(q *corev1.ResourceQuota) map[*corev1.Pod]share {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.byKey[cache.MetaObjectToName(q).String()]
	if k == nil || !equality.Semantic.DeepEqual(k.spec, q.Spec) {
		return nil
	}
	return k.pods
}

// keep replaces what is known of a quota's pods.
func (s *shares) keep(q *corev1.ResourceQuota, pods map[*corev1.Pod]share) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byKey == nil {
		s.byKey = make(map[string]*known)
	}
	s.byKey[cache.MetaObjectToName(q).String()] = &known{spec: *q.Spec.DeepCopy(), pods: pods}
}

// forget drops what is known of a quota that is gone.
func (s *shares) forget(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byKey, key)
}

// addPods is add for pods. copied says that they are of the informer's copy.
func (r *reconciler) addPods(c *count, q *corev1.ResourceQuota, kind *kinds.Kind, names []corev1.ResourceName, pods []*corev1.Pod, copied bool) {
	now, before := time.Now(), r.shares.of(q)
	after := make(map[*corev1.Pod]share, len(pods))
	sums := make(share, len(names))
	for _, pod := range pods {
		part, ok := before[pod]
		if !ok {
			part = shareOf(q, kind, names, pod, now)
		}
		if pod.DeletionTimestamp == nil {
			after[pod] = part
		}
		if part == nil {
			continue
		}
		for i := range part {
			sums[i].Add(part[i])
		}
		c.changesWith(pod, now)
	}
	for i, name := range names {
		quota.Add(c.used, corev1.ResourceList{name: sums[i]})
	}
	if copied {
		r.shares.keep(q, after)
	}
}

// shareOf works out what a pod counts for.
func shareOf(q *corev1.ResourceQuota, kind *kinds.Kind, names []corev1.ResourceName, pod *corev1.Pod, now time.Time) share {
	if !quota.InScope(&q.Spec, pod) {
		return nil
	}
	usage := quota.Usage(kind, pod, now, nil)
	part := make(share, len(names))
	for i, name := range names {
		part[i] = usage[name]
	}
	return part
}
