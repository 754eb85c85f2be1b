package resourceclaim

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/deviceclaim"
	"navarch.dev/navarch/services/controller/runner"
)

type releaser struct {
	client *client.Client
	pods   *client.Informer[*corev1.Pod]
	claims *client.Informer[*resourcev1.ResourceClaim]
}

// NewRelease returns the controller that takes claims back from pods that have
// ended: it cancels their reservations, gives up the devices of a claim that
// nobody has reserved any longer, and deletes claims that were made for a pod
// that has ended. Its keys name claims.
func NewRelease(deps runner.Deps) (*runner.Controller, error) {
	pods, err := client.InformerFor[*corev1.Pod](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	claims, err := client.InformerFor[*resourcev1.ResourceClaim](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	r := &releaser{client: deps.Client, pods: pods, claims: claims}
	c := runner.New("resourceclaimrelease", r, deps, runner.Options{Trace: claims.TraceContext})
	runner.Primary(c, claims)
	// A pod that starts to use a claim sets nothing free.
	pods.AddHandler(client.Handler[*corev1.Pod]{
		OnUpdate: func(old, pod *corev1.Pod) {
			if deviceclaim.IsDone(pod) && (!deviceclaim.IsDone(old) || len(deviceclaim.Names(pod)) != len(deviceclaim.Names(old))) {
				c.Enqueue(claimKeys(pod)...)
			}
		},
		OnDelete: func(pod *corev1.Pod) { c.Enqueue(claimKeys(pod)...) },
	})
	return c, nil
}

// Reconcile releases a claim as far as nobody uses it.
func (r *releaser) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	claim, ok := r.claims.GetByKey(key)
	if !ok {
		return runner.Done(), nil
	}
	remaining, err := r.stillReserved(ctx, claim)
	if err != nil {
		return runner.Done(), err
	}
	claim = claim.DeepCopy()
	if err := r.release(ctx, claim, remaining); err != nil {
		return runner.Done(), ignoreGone(err)
	}
	if len(remaining) > 0 || claim.DeletionTimestamp != nil || !r.ownerDone(claim) {
		return runner.Done(), nil
	}
	if err := r.client.Delete(ctx, claim, client.DeleteOptions{UID: claim.UID}); err != nil {
		return runner.Done(), ignoreGone(fmt.Errorf("delete unused generated claim %s: %w", key, err))
	}
	return runner.Done(), nil
}

func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// stillReserved returns the reservations that stand: those of pods that may yet
// run, and those of consumers of other kinds.
func (r *releaser) stillReserved(ctx context.Context, claim *resourcev1.ResourceClaim) ([]resourcev1.ResourceClaimConsumerReference, error) {
	var out []resourcev1.ResourceClaimConsumerReference
	for _, consumer := range claim.Status.ReservedFor {
		stands := true
		if consumer.APIGroup == "" && consumer.Resource == "pods" {
			var err error
			if stands, err = r.needs(ctx, claim.Namespace, consumer); err != nil {
				return nil, err
			}
		}
		if stands {
			out = append(out, consumer)
		}
	}
	return out, nil
}

// needs says whether a pod may yet run. Of a pod that the informer does not
// show, the Store is asked: it may be too new.
func (r *releaser) needs(ctx context.Context, namespace string, consumer resourcev1.ResourceClaimConsumerReference) (bool, error) {
	if pod, ok := r.pods.Get(namespace, consumer.Name); ok && pod.UID == consumer.UID {
		return !deviceclaim.IsDone(pod), nil
	}
	pod := &corev1.Pod{}
	err := r.client.Get(ctx, namespace, consumer.Name, pod)
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look for the pod %s/%s: %w", namespace, consumer.Name, err)
	}
	return pod.UID == consumer.UID && !deviceclaim.IsDone(pod), nil
}

// release cancels the reservations that do not stand. When the last one is
// cancelled, and when a claim without any is being deleted, the devices are given
// up; then the finalizer goes that kept the claim while it had them.
func (r *releaser) release(ctx context.Context, claim *resourcev1.ResourceClaim, remaining []resourcev1.ResourceClaimConsumerReference) error {
	cancelled := len(remaining) < len(claim.Status.ReservedFor)
	protected := slices.Contains(claim.Finalizers, resourcev1.Finalizer)
	free := protected && len(remaining) == 0 && (cancelled || claim.DeletionTimestamp != nil)
	if cancelled || free && claim.Status.Allocation != nil {
		claim.Status.ReservedFor = remaining
		if free {
			claim.Status.Allocation = nil
		}
		if err := r.client.UpdateStatus(ctx, claim); err != nil {
			return fmt.Errorf("release claim %s/%s: %w", claim.Namespace, claim.Name, err)
		}
	}
	if !free {
		return nil
	}
	claim.Finalizers = slices.DeleteFunc(claim.Finalizers, func(f string) bool { return f == resourcev1.Finalizer })
	if err := r.client.Update(ctx, claim); err != nil {
		return fmt.Errorf("let go of claim %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	return nil
}

// ownerDone says whether a claim was made for a pod that will not use it. That
// the pod is gone is left to the garbage collector to find out.
func (r *releaser) ownerDone(claim *resourcev1.ResourceClaim) bool {
	ref := metav1.GetControllerOfNoCopy(claim)
	if ref == nil || owningPod(claim) == nil {
		return false
	}
	pod, ok := r.pods.Get(claim.Namespace, ref.Name)
	return ok && (pod.UID != ref.UID || deviceclaim.IsDone(pod))
}
