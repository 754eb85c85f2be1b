package scheduler

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/scheduler/devices"
	"navarch.dev/navarch/services/scheduler/framework"
)

// extendedIndex has the claims that were made for the extended resources of pods, by
// the UIDs of these.
const extendedIndex = "scheduler-extended"

// allocatedIndex has the claims that are allocated under one value.
const allocatedIndex = "scheduler-allocated"

// deviceWatch follows claims, classes and what drivers publish for the plugins.
// It implements dynamicresources.Cluster.
type deviceWatch struct {
	client  *client.Client
	pods    *client.Informer[*corev1.Pod]
	claims  *client.Informer[*resourcev1.ResourceClaim]
	classes *client.Informer[*resourcev1.DeviceClass]
	slices  *client.Informer[*resourcev1.ResourceSlice]
	rules   *client.Informer[*resourcev1.DeviceTaintRule]

	// byName are the classes, for their informer's handlers alone; resources what
	// they stand for.
	byName    map[string]*resourcev1.DeviceClass
	resources atomic.Pointer[map[corev1.ResourceName]*resourcev1.DeviceClass]

	mu sync.Mutex // guards all below
	// pools are what slices and rules make; nil once either has changed.
	pools *devices.Pools
	// changes counts the changes, so that what was made meanwhile is not kept.
	changes uint64

	// The signal is of changes of claims, and of whether some pod waits.
	signal
}

func newDeviceWatch(c *client.Client, informers *client.Informers, pods *client.Informer[*corev1.Pod]) (*deviceWatch, error) {
	w := &deviceWatch{client: c, pods: pods, byName: map[string]*resourcev1.DeviceClass{}}
	var err error
	if w.claims, err = client.InformerFor[*resourcev1.ResourceClaim](informers, cache.Indexers{allocatedIndex: isAllocated, extendedIndex: podOfExtended}); err != nil {
		return nil, err
	}
	if w.classes, err = client.InformerFor[*resourcev1.DeviceClass](informers, nil); err != nil {
		return nil, err
	}
	if w.slices, err = client.InformerFor[*resourcev1.ResourceSlice](informers, nil); err != nil {
		return nil, err
	}
	if w.rules, err = client.InformerFor[*resourcev1.DeviceTaintRule](informers, nil); err != nil {
		return nil, err
	}
	return w, nil
}

func isAllocated(obj any) ([]string, error) {
	if claim, ok := obj.(*resourcev1.ResourceClaim); ok && claim.Status.Allocation != nil {
		return []string{"yes"}, nil
	}
	return nil, nil
}

func podOfExtended(obj any) ([]string, error) {
	claim, ok := obj.(*resourcev1.ResourceClaim)
	if !ok || claim.Annotations[resourcev1.ExtendedResourceClaimAnnotation] != "true" {
		return nil, nil
	}
	if owner := metav1.GetControllerOfNoCopy(claim); owner != nil {
		return []string{string(owner.UID)}, nil
	}
	return nil, nil
}

// tell has every change told that can help a pod. It must be called before the
// informers start.
func (w *deviceWatch) tell(happened func(framework.Event)) {
	tellAll(w.claims, framework.ResourceClaim, w.wake, happened)
	w.pods.AddHandler(client.Handler[*corev1.Pod]{OnDelete: func(*corev1.Pod) { w.wake() }})
	w.classes.AddHandler(client.Handler[*resourcev1.DeviceClass]{
		OnAdd:    func(c *resourcev1.DeviceClass) { w.byName[c.Name] = c; w.setResources() },
		OnUpdate: func(_, c *resourcev1.DeviceClass) { w.byName[c.Name] = c; w.setResources() },
		OnDelete: func(c *resourcev1.DeviceClass) { delete(w.byName, c.Name); w.setResources() },
	})
	tellAll(w.classes, framework.DeviceClass, func() {}, happened)
	tellAll(w.slices, framework.ResourceSlice, w.forget, happened)
	tellAll(w.rules, framework.DeviceTaintRule, w.forget, happened)
}

func tellAll[T kinds.Object](informer *client.Informer[T], resource framework.Resource, before func(), happened func(framework.Event)) {
	informer.AddHandler(client.Handler[T]{
		OnAdd: func(obj T) {
			before()
			happened(framework.Event{Resource: resource, Action: framework.Add, New: obj})
		},
		OnUpdate: func(old, obj T) {
			before()
			happened(framework.Event{Resource: resource, Action: framework.Update, Old: old, New: obj})
		},
		OnDelete: func(obj T) {
			before()
			happened(framework.Event{Resource: resource, Action: framework.Delete, Old: obj})
		},
	})
}

func (w *deviceWatch) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pools = nil
	w.changes++
}

func (w *deviceWatch) setResources() {
	all := devices.ByResource(slices.Collect(maps.Values(w.byName)))
	w.resources.Store(&all)
}

// Resources implements dynamicresources.Cluster. It takes no lock.
func (w *deviceWatch) Resources() map[corev1.ResourceName]*resourcev1.DeviceClass {
	if all := w.resources.Load(); all != nil {
		return *all
	}
	return nil
}

// ExtendedClaim implements dynamicresources.Cluster.
func (w *deviceWatch) ExtendedClaim(pod *corev1.Pod) (*resourcev1.ResourceClaim, bool) {
	found, _ := w.claims.ByIndex(extendedIndex, string(pod.UID)) // the index is always there
	if len(found) == 0 {
		return nil, false
	}
	return found[0], true
}

// Pools implements dynamicresources.Cluster.
func (w *deviceWatch) Pools() *devices.Pools {
	w.mu.Lock()
	have, changes := w.pools, w.changes
	w.mu.Unlock()
	if have != nil {
		return have
	}
	made := devices.NewPools(w.slices.List(), w.rules.List())
	w.mu.Lock()
	defer w.mu.Unlock()
	if changes == w.changes {
		w.pools = made
	}
	return made
}

// Claim implements dynamicresources.Cluster.
func (w *deviceWatch) Claim(namespace, name string) (*resourcev1.ResourceClaim, bool) {
	return w.claims.Get(namespace, name)
}

// Allocated implements dynamicresources.Cluster.
func (w *deviceWatch) Allocated() []*resourcev1.ResourceClaim {
	found, _ := w.claims.ByIndex(allocatedIndex, "yes") // the index is always there
	return found
}

// Class implements dynamicresources.Cluster.
func (w *deviceWatch) Class(name string) (*resourcev1.DeviceClass, bool) {
	return w.classes.GetByKey(name)
}

// PodWaits implements dynamicresources.Cluster.
func (w *deviceWatch) PodWaits(pod *corev1.Pod) bool { return podWaits(w.pods, pod) }

// Get implements dynamicresources.Cluster.
func (w *deviceWatch) Get(ctx context.Context, namespace, name string) (*resourcev1.ResourceClaim, error) {
	claim := &resourcev1.ResourceClaim{}
	if err := w.client.Get(ctx, namespace, name, claim); err != nil {
		return nil, err
	}
	return claim, nil
}

// Update implements dynamicresources.Cluster.
func (w *deviceWatch) Update(ctx context.Context, claim *resourcev1.ResourceClaim) error {
	return w.client.Update(ctx, claim)
}

// UpdateStatus implements dynamicresources.Cluster.
func (w *deviceWatch) UpdateStatus(ctx context.Context, claim *resourcev1.ResourceClaim) error {
	return w.client.UpdateStatus(ctx, claim)
}

// Create implements dynamicresources.Cluster.
func (w *deviceWatch) Create(ctx context.Context, claim *resourcev1.ResourceClaim) error {
	return w.client.Create(ctx, claim)
}

// Delete implements dynamicresources.Cluster.
func (w *deviceWatch) Delete(ctx context.Context, claim *resourcev1.ResourceClaim) error {
	return w.client.Delete(ctx, claim, client.DeleteOptions{UID: claim.UID})
}

// SetExtendedClaim implements dynamicresources.Cluster.
func (w *deviceWatch) SetExtendedClaim(ctx context.Context, pod *corev1.Pod, status *corev1.PodExtendedResourceClaimStatus) error {
	now := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
	return w.client.RetryOnConflict(ctx, now, func() bool {
		if now.UID != pod.UID || status == nil && now.Status.ExtendedResourceClaimStatus == nil {
			return false
		}
		now.Status.ExtendedResourceClaimStatus = status
		return true
	}, w.client.UpdateStatus)
}
