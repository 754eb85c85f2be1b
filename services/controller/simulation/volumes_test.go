package simulation_test

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/localpath"
	"navarch.dev/navarch/services/controller/runner"
)

// hasVolumes says whether a pod can start as far as its claims go: an agent
// mounts what is bound, and nothing that is being deleted.
func (n *nodes) hasVolumes(ctx context.Context, pod *corev1.Pod) (bool, error) {
	for _, name := range claimNames(pod) {
		claim := &corev1.PersistentVolumeClaim{}
		switch err := n.client.Get(ctx, pod.Namespace, name, claim); {
		case apierrors.IsNotFound(err):
			return false, nil
		case err != nil:
			return false, err
		case claim.DeletionTimestamp != nil || !isBound(claim):
			return false, nil
		}
		pv := &corev1.PersistentVolume{}
		switch err := n.client.Get(ctx, "", claim.Spec.VolumeName, pv); {
		case apierrors.IsNotFound(err):
			return false, nil
		case err != nil:
			return false, err
		case holder(pv) != claim.UID:
			return false, fmt.Errorf("pod %s finds volume %s with claim %s", pod.Name, pv.Name, holder(pv))
		}
	}
	return true, nil
}

// reclaimer stands in for what agents do about volumes that are deleted: they
// remove the data and let the volume go.
type reclaimer struct {
	nodes   *nodes
	volumes *client.Informer[*corev1.PersistentVolume]
}

// Reconcile implements runner.Reconciler.
func (r *reclaimer) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	pv, ok := r.volumes.GetByKey(key)
	switch {
	case !ok || pv.DeletionTimestamp == nil || !slices.Contains(pv.Finalizers, localpath.Finalizer):
		return runner.Done(), nil
	case pv.Status.Phase != corev1.VolumeReleased && pv.Status.Phase != corev1.VolumeFailed && pv.Status.Phase != corev1.VolumeAvailable:
		return runner.Done(), nil
	case !r.nodes.isUp(pv.Labels[localpath.NodeLabel]):
		return runner.RequeueAfter(renewal), nil
	}
	gone := pv.DeepCopy()
	gone.Finalizers = slices.DeleteFunc(gone.Finalizers, func(f string) bool { return f == localpath.Finalizer })
	err := r.nodes.client.Update(ctx, gone)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		err = nil // there is a newer one, or none: it is seen shortly
	}
	return runner.Done(), err
}
