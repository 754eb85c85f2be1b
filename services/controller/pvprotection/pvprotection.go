// Package pvprotection keeps PersistentVolumes that are bound from being
// removed: it takes the finalizer off a deleted volume once no claim has it.
package pvprotection

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/runner"
)

type reconciler struct {
	client  *client.Client
	volumes *client.Informer[*corev1.PersistentVolume]
}

// New returns the controller. Its keys name volumes.
func New(deps runner.Deps) (*runner.Controller, error) {
	volumes, err := client.InformerFor[*corev1.PersistentVolume](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	r := &reconciler{client: deps.Client, volumes: volumes}
	c := runner.New("pvprotection", r, deps, runner.Options{Trace: volumes.TraceContext})
	runner.Primary(c, volumes)
	return c, nil
}

// Reconcile protects a volume, or lets it go.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	volume, ok := r.volumes.GetByKey(key)
	if !ok {
		return runner.Done(), nil
	}
	protected := slices.Contains(volume.Finalizers, kinds.VolumeProtectionFinalizer)
	deleted := volume.DeletionTimestamp != nil
	switch {
	case !deleted && !protected:
		volume = volume.DeepCopy()
		volume.Finalizers = append(volume.Finalizers, kinds.VolumeProtectionFinalizer)
	case deleted && protected && volume.Status.Phase != corev1.VolumeBound:
		volume = volume.DeepCopy()
		volume.Finalizers = slices.DeleteFunc(volume.Finalizers, func(f string) bool { return f == kinds.VolumeProtectionFinalizer })
	default:
		return runner.Done(), nil
	}
	if err := r.client.Update(ctx, volume); err != nil && !apierrors.IsNotFound(err) {
		return runner.Done(), fmt.Errorf("set the finalizers of volume %s: %w", key, err)
	}
	return runner.Done(), nil
}
