// Package ephemeralvolume makes the claims of pods' generic ephemeral volumes. A
// claim is named for the pod and the volume, and owned by the pod, so that it
// is collected with it.
package ephemeralvolume

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/ephemeral"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/runner"
)

type reconciler struct {
	client *client.Client
	events runner.EventRecorder
	pods   *client.Informer[*corev1.Pod]
	claims *client.Informer[*corev1.PersistentVolumeClaim]
}

// New returns the controller of ephemeral volumes.
func New(deps runner.Deps) (*runner.Controller, error) {
	pods, err := client.InformerFor[*corev1.Pod](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	claims, err := client.InformerFor[*corev1.PersistentVolumeClaim](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	r := &reconciler{client: deps.Client, events: deps.Events("ephemeral_volume"), pods: pods, claims: claims}
	c := runner.New("ephemeralvolume", r, deps, runner.Options{Trace: pods.TraceContext})
	runner.Watch(c, pods, runner.Input[*corev1.Pod]{Keys: needing, Changed: func(_, _ *corev1.Pod) bool { return false }})
	runner.Watch(c, claims, runner.Input[*corev1.PersistentVolumeClaim]{Keys: ownerOf})
	return c, nil
}

// needing returns the pod's key if it has ephemeral volumes.
func needing(pod *corev1.Pod) []string {
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].Ephemeral != nil {
			return []string{pod.Namespace + "/" + pod.Name}
		}
	}
	return nil
}

// ownerOf returns the pod that a claim was made for.
func ownerOf(claim *corev1.PersistentVolumeClaim) []string {
	ref := metav1.GetControllerOfNoCopy(claim)
	if ref == nil || ref.Kind != "Pod" {
		return nil
	}
	return []string{claim.Namespace + "/" + ref.Name}
}

// Reconcile makes the claims that a pod lacks.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	pod, ok := r.pods.GetByKey(key)
	if !ok || pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return runner.Done(), nil
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Ephemeral == nil || v.Ephemeral.VolumeClaimTemplate == nil {
			continue
		}
		if err := r.ensureClaim(ctx, pod, v); err != nil {
			err = fmt.Errorf("ephemeral volume %s: %w", v.Name, err)
			r.events.Event(pod, corev1.EventTypeWarning, "FailedBinding", err.Error())
			return runner.Done(), err
		}
	}
	return runner.Done(), nil
}

func (r *reconciler) ensureClaim(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) error {
	name := ephemeral.VolumeClaimName(pod, v)
	if claim, ok := r.claims.Get(pod.Namespace, name); ok {
		return ephemeral.VolumeIsForPod(pod, claim) // tried again: the other claim may go
	}
	err := r.client.Create(ctx, newClaim(pod, v, name))
	if apierrors.IsAlreadyExists(err) {
		return nil // its event brings the pod back
	}
	return err
}

func newClaim(pod *corev1.Pod, v *corev1.Volume, name string) *corev1.PersistentVolumeClaim {
	template := v.Ephemeral.VolumeClaimTemplate
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, Name: name, Labels: template.Labels, Annotations: template.Annotations,
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID,
				Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
			}},
		},
		Spec: template.Spec,
	}
}
