// Package persistentvolume binds PersistentVolumeClaims to PersistentVolumes.
//
// A binding has two sides: the volume's claimRef with the claim's UID, and the
// claim's volumeName. The volume's is written first, so that no two claims get
// the same volume, and the claim's annotation bind-completed says that both
// are there. A controller that dies in between finds the volume taken for the
// claim and goes on.
//
//	claim:   Pending ──▶ Bound ──▶ Lost (its volume is gone, or another's)
//	volume:  Available ──▶ Bound ──▶ Released (its claim is gone) ──▶ gone, or Failed
//
// Keys with a slash are claims, those without are volumes.
//
//	persistentvolume.go  what is watched; which keys an object concerns
//	claim.go             claims that are not bound yet, and those that are
//	bind.go              writing a binding
//	provision.go         asking for a volume where there is none; default class
//	volume.go            the phases of volumes, and what becomes of released ones
package persistentvolume

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/storage/volume"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/runner"
)

// settleTimeout is the longest wait for the informers to show our own writes
// before looking again.
const settleTimeout = time.Second

const (
	// candidatesIndex has volumes by the claim that they are for, and those for
	// no claim by their class.
	candidatesIndex = "persistentvolume-candidates"
	// unboundIndex has claims that are not bound yet by their class.
	unboundIndex = "persistentvolume-unbound"
	// namingIndex has claims by the volume that they name.
	namingIndex = "persistentvolume-naming"
)

type reconciler struct {
	client  *client.Client
	events  runner.EventRecorder
	claims  *client.Informer[*corev1.PersistentVolumeClaim]
	volumes *client.Informer[*corev1.PersistentVolume]
	classes *client.Informer[*storagev1.StorageClass]
	// A claim that does not see the volume it was just given would take another.
	claimBarrier  *runner.Barrier[*corev1.PersistentVolumeClaim]
	volumeBarrier *runner.Barrier[*corev1.PersistentVolume]
}

// New returns the controller of claims and volumes.
func New(deps runner.Deps) (*runner.Controller, error) {
	claims, err := client.InformerFor[*corev1.PersistentVolumeClaim](deps.Informers, cache.Indexers{unboundIndex: unboundClass, namingIndex: namedVolume})
	if err != nil {
		return nil, err
	}
	volumes, err := client.InformerFor[*corev1.PersistentVolume](deps.Informers, cache.Indexers{candidatesIndex: candidateFor})
	if err != nil {
		return nil, err
	}
	classes, err := client.InformerFor[*storagev1.StorageClass](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	r := &reconciler{
		client: deps.Client, events: deps.Events("persistentvolume-controller"), claims: claims, volumes: volumes, classes: classes,
		claimBarrier: runner.NewBarrier(claims), volumeBarrier: runner.NewBarrier(volumes),
	}
	c := runner.New("persistentvolume", r, deps, runner.Options{Trace: runner.TraceByScope(claims.TraceContext, volumes.TraceContext)})
	runner.Watch(c, claims, runner.Input[*corev1.PersistentVolumeClaim]{Keys: r.claimKeys})
	runner.Watch(c, volumes, runner.Input[*corev1.PersistentVolume]{Keys: r.volumeKeys})
	runner.Watch(c, classes, runner.Input[*storagev1.StorageClass]{Keys: r.classKeys, Changed: func(old, class *storagev1.StorageClass) bool {
		return !equality.Semantic.DeepEqual(old.Annotations, class.Annotations)
	}})
	return c, nil
}

// Reconcile brings a claim or a volume up to date.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	if !runner.IsNamespaced(key) {
		pv, ok := r.volumes.GetByKey(key)
		if !ok {
			return runner.Done(), nil
		}
		return runner.Done(), r.syncVolume(ctx, pv)
	}
	claim, ok := r.claims.GetByKey(key)
	if !ok {
		return runner.Done(), nil
	}
	if !r.claimBarrier.Passed(key) || !r.volumeBarrier.Passed(key) {
		return runner.RequeueAfter(settleTimeout), nil
	}
	return runner.Done(), r.syncClaim(ctx, claim)
}

func claimKey(claim *corev1.PersistentVolumeClaim) string { return claim.Namespace + "/" + claim.Name }

func byClaim(key string) string { return "claim:" + key }

func byClass(class string) string { return "class:" + class }

func candidateFor(obj any) ([]string, error) {
	pv, ok := obj.(*corev1.PersistentVolume)
	switch {
	case !ok:
		return nil, nil
	case pv.Spec.ClaimRef != nil:
		return []string{byClaim(pv.Spec.ClaimRef.Namespace + "/" + pv.Spec.ClaimRef.Name)}, nil
	}
	return []string{byClass(volume.GetPersistentVolumeClass(pv))}, nil
}

func unboundClass(obj any) ([]string, error) {
	claim, ok := obj.(*corev1.PersistentVolumeClaim)
	if !ok || bindCompleted(claim) {
		return nil, nil
	}
	return []string{volume.GetPersistentVolumeClaimClass(claim)}, nil
}

func namedVolume(obj any) ([]string, error) {
	claim, ok := obj.(*corev1.PersistentVolumeClaim)
	if !ok || claim.Spec.VolumeName == "" {
		return nil, nil
	}
	return []string{claim.Spec.VolumeName}, nil
}

// claimKeys: a claim concerns itself, the volume it has, and those that are
// taken for it.
func (r *reconciler) claimKeys(claim *corev1.PersistentVolumeClaim) []string {
	keys := []string{claimKey(claim)}
	if claim.Spec.VolumeName != "" {
		keys = append(keys, claim.Spec.VolumeName)
	}
	return append(keys, r.volumesFor(byClaim(claimKey(claim)))...)
}

// volumesFor returns the names of the volumes in one place of the index.
func (r *reconciler) volumesFor(place string) []string {
	keys, err := r.volumes.Indexer().IndexKeys(candidatesIndex, place)
	if err != nil {
		return nil // the index is there since New
	}
	return keys
}

// volumeKeys: a volume concerns itself, its claim and those that name it; a free
// one every claim that it could be for.
func (r *reconciler) volumeKeys(pv *corev1.PersistentVolume) []string {
	keys := append([]string{pv.Name}, r.claimsBy(namingIndex, pv.Name)...)
	if ref := pv.Spec.ClaimRef; ref != nil {
		return append(keys, ref.Namespace+"/"+ref.Name)
	}
	if pv.Status.Phase == corev1.VolumeAvailable {
		keys = append(keys, r.claimsBy(unboundIndex, volume.GetPersistentVolumeClass(pv))...)
	}
	return keys
}

// classKeys: a class concerns the claims that wait for it and, as it may be the
// default, those that name none.
func (r *reconciler) classKeys(class *storagev1.StorageClass) []string {
	return append(r.claimsBy(unboundIndex, class.Name), r.claimsBy(unboundIndex, "")...)
}

func (r *reconciler) claimsBy(index, value string) []string {
	keys, err := r.claims.Indexer().IndexKeys(index, value)
	if err != nil {
		return nil // the index is there since New
	}
	return keys
}
