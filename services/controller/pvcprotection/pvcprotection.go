// Package pvcprotection keeps PersistentVolumeClaims that pods use from being
// removed: it takes the finalizer off a deleted claim once no pod on a node
// refers to it.
package pvcprotection

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/storage/ephemeral"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/podset"
	"navarch.dev/navarch/services/controller/runner"
)

// byClaim is the index of pods by the claims that their volumes name, as
// "namespace/name".
const byClaim = "pvcprotection/claim"

type reconciler struct {
	client *client.Client
	claims *client.Informer[*corev1.PersistentVolumeClaim]
	pods   *client.Informer[*corev1.Pod]
}

// New returns the controller. Its keys name claims.
func New(deps runner.Deps) (*runner.Controller, error) {
	claims, err := client.InformerFor[*corev1.PersistentVolumeClaim](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	pods, err := client.InformerFor[*corev1.Pod](deps.Informers, cache.Indexers{byClaim: indexByClaim})
	if err != nil {
		return nil, err
	}
	r := &reconciler{client: deps.Client, claims: claims, pods: pods}
	c := runner.New("pvcprotection", r, deps, runner.Options{Trace: claims.TraceContext})
	runner.Primary(c, claims)
	// A pod that starts to use a claim never sets it free.
	pods.AddHandler(client.Handler[*corev1.Pod]{
		OnUpdate: func(old, pod *corev1.Pod) {
			if podset.IsFinished(pod) != podset.IsFinished(old) || isShutDown(pod) != isShutDown(old) {
				c.Enqueue(claimsOf(pod)...)
			}
		},
		OnDelete: func(pod *corev1.Pod) { c.Enqueue(claimsOf(pod)...) },
	})
	return c, nil
}

func indexByClaim(v any) ([]string, error) {
	pod, ok := v.(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("index a %T: not a Pod", v)
	}
	return claimsOf(pod), nil
}

// claimsOf returns the keys of the claims that a pod's volumes name.
func claimsOf(pod *corev1.Pod) []string {
	var keys []string
	for i := range pod.Spec.Volumes {
		if name := claimName(pod, &pod.Spec.Volumes[i]); name != "" {
			keys = append(keys, cache.NewObjectName(pod.Namespace, name).String())
		}
	}
	return keys
}

func claimName(pod *corev1.Pod, v *corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return ephemeral.VolumeClaimName(pod, v)
	}
	return ""
}

// Reconcile protects a claim, or lets it go.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	claim, ok := r.claims.GetByKey(key)
	if !ok {
		return runner.Done(), nil
	}
	protected := slices.Contains(claim.Finalizers, kinds.ClaimProtectionFinalizer)
	switch {
	case claim.DeletionTimestamp == nil && !protected:
		claim = claim.DeepCopy()
		claim.Finalizers = append(claim.Finalizers, kinds.ClaimProtectionFinalizer)
	case claim.DeletionTimestamp != nil && protected:
		used, err := r.isUsed(ctx, claim)
		if err != nil || used {
			return runner.Done(), err
		}
		claim = claim.DeepCopy()
		claim.Finalizers = slices.DeleteFunc(claim.Finalizers, func(f string) bool { return f == kinds.ClaimProtectionFinalizer })
	default:
		return runner.Done(), nil
	}
	if err := r.client.Update(ctx, claim); err != nil && !apierrors.IsNotFound(err) {
		return runner.Done(), fmt.Errorf("set the finalizers of claim %s: %w", key, err)
	}
	return runner.Done(), nil
}

// isUsed says whether a pod uses a claim. Only the Store's word that none does
// is taken: the informer may be behind, and data is at stake.
func (r *reconciler) isUsed(ctx context.Context, claim *corev1.PersistentVolumeClaim) (bool, error) {
	known, err := r.pods.ByIndex(byClaim, cache.MetaObjectToName(claim).String())
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(known, func(pod *corev1.Pod) bool { return uses(pod, claim) }) {
		return true, nil
	}
	var live corev1.PodList
	if err := r.client.List(ctx, &live, client.ListOptions{Namespace: claim.Namespace}); err != nil {
		return false, fmt.Errorf("look for pods that use claim %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	for i := range live.Items {
		if uses(&live.Items[i], claim) {
			return true, nil
		}
	}
	return false, nil
}

// uses says whether a pod may have a claim's volume mounted. A pod that has no
// node does not: its agent will refuse a claim that is being deleted.
func uses(pod *corev1.Pod, claim *corev1.PersistentVolumeClaim) bool {
	if pod.Spec.NodeName == "" {
		return false
	}
	return slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
		if v.PersistentVolumeClaim != nil {
			return v.PersistentVolumeClaim.ClaimName == claim.Name
		}
		return v.Ephemeral != nil && !isShutDown(pod) && claimName(pod, &v) == claim.Name && ephemeral.VolumeIsForPod(pod, claim) == nil
	})
}

// isShutDown says whether a pod's agent has ended it.
func isShutDown(pod *corev1.Pod) bool {
	grace := pod.DeletionGracePeriodSeconds
	return pod.DeletionTimestamp != nil && grace != nil && *grace == 0
}
