// Package devicetainteviction evicts pods whose devices have a taint with the
// effect NoExecute that their claims do not tolerate, or no longer, and says in
// the status of each DeviceTaintRule how far that is, or what it would do.
//
// Drivers publish taints in ResourceSlices; administrators give devices taints by
// rules. Tolerations are those that an allocation was made with. A pod goes as
// soon as one of its claims asks for it.
//
//	devicetainteviction.go  what is followed, and which keys it concerns
//	eviction.go             when a pod has to go
//	pods.go                 its eviction
//	rules.go                the status of rules
//
// Keys name pods, "namespace/name", and rules, "name".
// See https://kep.k8s.io/5055
package devicetainteviction

import (
	"context"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/deviceclaim"
	"navarch.dev/navarch/services/controller/runner"
)

// The indices of slices and of allocated claims by the pools of their devices, as
// "driver/pool". A driver's name has no slash.
const (
	slicesByPool = "devicetainteviction/slices"
	claimsByPool = "devicetainteviction/claims"
)

type reconciler struct {
	client *client.Client
	events runner.EventRecorder
	pods   *client.Informer[*corev1.Pod]
	claims *client.Informer[*resourcev1.ResourceClaim]
	slices *client.Informer[*resourcev1.ResourceSlice]
	rules  *client.Informer[*resourcev1.DeviceTaintRule]
	// enqueue has keys reconciled.
	enqueue func(keys ...string)

	mu sync.Mutex // guards all below
	// leaving are the pods that have to go and have not, by key.
	leaving map[string]*eviction
	// deleted are those that were evicted, as long as the informer does not show it.
	deleted map[string]types.UID
	// evicted counts the pods that were evicted because of a rule.
	evicted map[types.UID]int64
}

// New returns the controller.
func New(deps runner.Deps) (*runner.Controller, error) {
	r := &reconciler{
		client: deps.Client, events: deps.Events("device-taint-eviction-controller"),
		leaving: map[string]*eviction{}, deleted: map[string]types.UID{}, evicted: map[types.UID]int64{},
	}
	var err error
	if r.pods, err = client.InformerFor[*corev1.Pod](deps.Informers, nil); err != nil {
		return nil, err
	}
	if r.claims, err = client.InformerFor[*resourcev1.ResourceClaim](deps.Informers, cache.Indexers{claimsByPool: poolsOfClaim}); err != nil {
		return nil, err
	}
	if r.slices, err = client.InformerFor[*resourcev1.ResourceSlice](deps.Informers, cache.Indexers{slicesByPool: poolOfSlice}); err != nil {
		return nil, err
	}
	if r.rules, err = client.InformerFor[*resourcev1.DeviceTaintRule](deps.Informers, nil); err != nil {
		return nil, err
	}
	c := runner.New("devicetainteviction", r, deps, runner.Options{})
	r.enqueue = c.Enqueue
	r.watch(c)
	return c, nil
}

func (r *reconciler) watch(c *runner.Controller) {
	runner.Watch(c, r.pods, runner.Input[*corev1.Pod]{Keys: withClaims, Changed: podChanged})
	runner.Watch(c, r.claims, runner.Input[*resourcev1.ResourceClaim]{Keys: podsOf, Changed: func(old, claim *resourcev1.ResourceClaim) bool {
		return (old.Status.Allocation == nil) != (claim.Status.Allocation == nil) || !equality.Semantic.DeepEqual(old.Status.ReservedFor, claim.Status.ReservedFor)
	}})
	runner.Watch(c, r.slices, runner.Input[*resourcev1.ResourceSlice]{Keys: r.podsOfPool, Changed: func(old, s *resourcev1.ResourceSlice) bool {
		return old.Spec.Pool.Generation != s.Spec.Pool.Generation || evicts(old) || evicts(s)
	}})
	runner.Watch(c, r.rules, runner.Input[*resourcev1.DeviceTaintRule]{Keys: r.concernedBy, Changed: func(old, rule *resourcev1.DeviceTaintRule) bool {
		return old.UID != rule.UID || !equality.Semantic.DeepEqual(old.Spec, rule.Spec)
	}})
	r.rules.AddHandler(client.Handler[*resourcev1.DeviceTaintRule]{OnDelete: func(rule *resourcev1.DeviceTaintRule) {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.evicted, rule.UID)
	}})
}

// Reconcile implements runner.Reconciler.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	if strings.Contains(key, "/") {
		return r.reconcilePod(ctx, key)
	}
	return r.reconcileRule(ctx, key)
}

func poolKey(driver, pool string) string { return driver + "/" + pool }

func poolOfSlice(obj any) ([]string, error) {
	if s, ok := obj.(*resourcev1.ResourceSlice); ok {
		return []string{poolKey(s.Spec.Driver, s.Spec.Pool.Name)}, nil
	}
	return nil, nil
}

func poolsOfClaim(obj any) ([]string, error) {
	claim, ok := obj.(*resourcev1.ResourceClaim)
	if !ok || claim.Status.Allocation == nil {
		return nil, nil
	}
	var keys []string
	for i := range claim.Status.Allocation.Devices.Results {
		r := &claim.Status.Allocation.Devices.Results[i]
		if key := poolKey(r.Driver, r.Pool); !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// withClaims returns the pod's key if it has claims and a node.
func withClaims(pod *corev1.Pod) []string {
	if pod.Spec.NodeName == "" || len(deviceclaim.Names(pod)) == 0 {
		return nil
	}
	return runner.Self(pod)
}

// podChanged says whether an update bears on a pod's eviction: it came to a node,
// got other claims, ends, or is another by now.
func podChanged(old, pod *corev1.Pod) bool {
	return old.UID != pod.UID || old.Spec.NodeName != pod.Spec.NodeName || old.Status.Phase != pod.Status.Phase ||
		(old.DeletionTimestamp == nil) != (pod.DeletionTimestamp == nil) ||
		!slices.Equal(deviceclaim.Names(old), deviceclaim.Names(pod))
}

// podsOf returns the keys of the pods that a claim is reserved for.
func podsOf(claim *resourcev1.ResourceClaim) []string {
	var keys []string
	for _, consumer := range claim.Status.ReservedFor {
		if consumer.APIGroup == "" && consumer.Resource == "pods" {
			keys = append(keys, claim.Namespace+"/"+consumer.Name)
		}
	}
	return keys
}

// evicts says whether one of a slice's devices has a taint that evicts.
func evicts(s *resourcev1.ResourceSlice) bool {
	return slices.ContainsFunc(s.Spec.Devices, func(d resourcev1.Device) bool {
		return slices.ContainsFunc(d.Taints, func(t resourcev1.DeviceTaint) bool { return t.Effect == resourcev1.DeviceTaintEffectNoExecute })
	})
}

// podsOfPool returns the pods that have devices of a slice's pool.
func (r *reconciler) podsOfPool(s *resourcev1.ResourceSlice) []string {
	var keys []string
	found, _ := r.claims.ByIndex(claimsByPool, poolKey(s.Spec.Driver, s.Spec.Pool.Name)) // the index is always there
	for _, claim := range found {
		keys = append(keys, podsOf(claim)...)
	}
	return keys
}

// concernedBy returns the rule itself, and the pods that have its devices.
func (r *reconciler) concernedBy(rule *resourcev1.DeviceTaintRule) []string {
	keys := runner.Self(rule)
	if rule.Spec.Taint.Effect != resourcev1.DeviceTaintEffectNoExecute {
		return keys
	}
	for _, claim := range r.claims.List() {
		if selected(claim, rule) > 0 {
			keys = append(keys, podsOf(claim)...)
		}
	}
	return keys
}

// selected returns how many of a claim's devices a rule is for.
func selected(claim *resourcev1.ResourceClaim, rule *resourcev1.DeviceTaintRule) (n int) {
	if claim.Status.Allocation == nil {
		return 0
	}
	for i := range claim.Status.Allocation.Devices.Results {
		if d := &claim.Status.Allocation.Devices.Results[i]; deviceclaim.Taints(rule, d.Driver, d.Pool, d.Device) {
			n++
		}
	}
	return n
}
