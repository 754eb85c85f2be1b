package volume

import (
	"context"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/ephemeral"

	"navarch.dev/navarch/agent/diskusage"
	"navarch.dev/navarch/agent/objects"
	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/internal/client"
)

// Resolver does of a Manager's work the part that is between a node and the
// Store, for pods that have no processes: it waits for the ConfigMaps, Secrets
// and bound claims that pods' volumes are made of, gets their tokens and
// certificates and renews them. There is nothing of it on disk. It is safe for concurrent use.
type Resolver struct{ m *Manager }

// NewResolver returns a resolver.
func NewResolver(c *client.Client, o *objects.Objects, certs Certificates, log *slog.Logger) *Resolver {
	return &Resolver{m: New(Config{}, c, o, certs, log)}
}

// SetUp returns once all that a pod's volumes need is there, or an error that
// says what is missing, in the words that users know.
func (r *Resolver) SetUp(ctx context.Context, pod *corev1.Pod) (Volumes, error) {
	var renewal time.Time
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		refresh, err := r.resolve(ctx, pod, v)
		if err != nil {
			return nil, &Error{Volume: v.Name, Err: err}
		}
		if !refresh.IsZero() && (renewal.IsZero() || refresh.Before(renewal)) {
			renewal = refresh
		}
	}
	tokens := tokensOf(pod)
	r.m.scheduleRenewal(tokens, renewal, func(ctx context.Context) error {
		_, err := r.SetUp(ctx, tokens)
		return err
	})
	return nil, nil
}

// RecursiveReadOnly says what a mount would be on a node that does what must be done.
func (r *Resolver) RecursiveReadOnly(vm corev1.VolumeMount) bool { return r.m.RecursiveReadOnly(vm) }

// resolve returns when a volume's token has to be renewed, if it has one.
func (r *Resolver) resolve(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) (time.Time, error) {
	switch {
	case v.PersistentVolumeClaim != nil:
		_, err := r.m.boundVolume(ctx, pod, v.PersistentVolumeClaim.ClaimName, false)
		return time.Time{}, err
	case v.Ephemeral != nil:
		_, err := r.m.boundVolume(ctx, pod, ephemeral.VolumeClaimName(pod, v), true)
		return time.Time{}, err
	}
	p, err := r.m.project(ctx, pod, v)
	if p == nil || err != nil {
		return time.Time{}, err
	}
	return p.refresh, nil
}

// tokensOf returns what of a pod is needed to renew its tokens, and so is kept
// as long as the pod.
func tokensOf(pod *corev1.Pod) *corev1.Pod {
	kept := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}}
	kept.Spec.ServiceAccountName = pod.Spec.ServiceAccountName
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Projected == nil {
			continue
		}
		var tokens []corev1.VolumeProjection
		for _, s := range v.Projected.Sources {
			if t := s.ServiceAccountToken; t != nil {
				tokens = append(tokens, corev1.VolumeProjection{ServiceAccountToken: t.DeepCopy()})
			}
		}
		if tokens != nil {
			kept.Spec.Volumes = append(kept.Spec.Volumes, corev1.Volume{
				Name: v.Name, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: tokens}},
			})
		}
	}
	return kept
}

// Mounts returns nothing: nobody sees the volumes.
func (*Resolver) Mounts(*corev1.Pod, *corev1.Container, Volumes, func(string) (string, bool)) ([]runtime.Mount, error) {
	return nil, nil
}

// Devices returns nothing, as Mounts.
func (*Resolver) Devices(*corev1.Container, Volumes) ([]runtime.Device, error) { return nil, nil }

// Usage returns 0: nobody writes to the volumes.
func (*Resolver) Usage(*corev1.Pod, string) (diskusage.Usage, error) {
	return diskusage.Usage{}, nil
}

// TearDown ends the renewal of a pod's tokens.
func (r *Resolver) TearDown(podUID string) error {
	r.m.forget(podUID)
	return nil
}

// Pods returns nothing: what is there ends with the process.
func (*Resolver) Pods() ([]string, error) { return nil, nil }
