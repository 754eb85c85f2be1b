// Package localpath is the built-in provisioner: it makes PersistentVolumes
// that are folders of the node that the scheduler has chosen for a claim, and
// deletes them once their claims are gone. The folders themselves are made and
// removed by the nodes' agents; see package internal/localpath for who does
// what.
//
// It sees claims as any external provisioner does: by the annotations that the
// persistentvolume controller and the scheduler put on them. Keys with a slash
// are claims, those without are volumes.
//
//	localpath.go  what is watched; volumes that are to go
//	provision.go  claims that want a volume, or a larger one
//	node.go       the node of a volume
package localpath

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/storage/volume"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/localpath"
	"navarch.dev/navarch/services/controller/runner"
)

const (
	// askingIndex has the claims that this provisioner is asked to serve, by
	// the node chosen for them.
	askingIndex = "localpath-asking"
	// nodeIndex has this provisioner's volumes by node.
	nodeIndex = "localpath-node"
)

type reconciler struct {
	client  *client.Client
	events  runner.EventRecorder
	claims  *client.Informer[*corev1.PersistentVolumeClaim]
	volumes *client.Informer[*corev1.PersistentVolume]
	classes *client.Informer[*storagev1.StorageClass]
	nodes   *client.Informer[*corev1.Node]
}

// New returns the provisioner.
func New(deps runner.Deps) (*runner.Controller, error) {
	claims, err := client.InformerFor[*corev1.PersistentVolumeClaim](deps.Informers, cache.Indexers{askingIndex: askingFor})
	if err != nil {
		return nil, err
	}
	volumes, err := client.InformerFor[*corev1.PersistentVolume](deps.Informers, cache.Indexers{nodeIndex: nodeOf})
	if err != nil {
		return nil, err
	}
	classes, err := client.InformerFor[*storagev1.StorageClass](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	nodes, err := client.InformerFor[*corev1.Node](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	r := &reconciler{
		client: deps.Client, events: deps.Events(localpath.Provisioner),
		claims: claims, volumes: volumes, classes: classes, nodes: nodes,
	}
	c := runner.New("localpath", r, deps, runner.Options{Trace: runner.TraceByScope(claims.TraceContext, volumes.TraceContext)})
	runner.Watch(c, claims, runner.Input[*corev1.PersistentVolumeClaim]{Keys: claimKeys})
	runner.Watch(c, volumes, runner.Input[*corev1.PersistentVolume]{Keys: volumeKeys})
	runner.Watch(c, nodes, runner.Input[*corev1.Node]{Keys: r.nodeKeys, Changed: func(old, node *corev1.Node) bool {
		return old.Annotations[localpath.DirAnnotation] != node.Annotations[localpath.DirAnnotation] || ready(old) != ready(node)
	}})
	return c, nil
}

// Reconcile serves a claim or sees to a volume.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	if !runner.IsNamespaced(key) {
		pv, ok := r.volumes.GetByKey(key)
		if !ok {
			return runner.Done(), nil
		}
		return runner.Done(), r.reclaim(ctx, pv)
	}
	claim, ok := r.claims.GetByKey(key)
	if !ok || claim.DeletionTimestamp != nil {
		return runner.Done(), nil
	}
	if claim.Spec.VolumeName != "" {
		return runner.Done(), r.expand(ctx, claim)
	}
	return runner.Done(), r.provision(ctx, claim)
}

func claimKeys(claim *corev1.PersistentVolumeClaim) []string {
	if claim.Annotations[volume.AnnStorageProvisioner] != localpath.Provisioner {
		return nil
	}
	return []string{claim.Namespace + "/" + claim.Name}
}

// volumeKeys: a volume that changes concerns itself, and its claim if that
// waits for it to grow.
func volumeKeys(pv *corev1.PersistentVolume) []string {
	if !localpath.Provisioned(pv) {
		return nil
	}
	if ref := pv.Spec.ClaimRef; ref != nil {
		return []string{pv.Name, ref.Namespace + "/" + ref.Name}
	}
	return []string{pv.Name}
}

// nodeKeys: a node concerns the claims that want a volume on it, or on any, and
// the volumes that are on it.
func (r *reconciler) nodeKeys(node *corev1.Node) []string {
	var keys []string
	for _, in := range []struct {
		indexer     cache.Indexer
		name, value string
	}{{r.claims.Indexer(), askingIndex, node.Name}, {r.claims.Indexer(), askingIndex, ""}, {r.volumes.Indexer(), nodeIndex, node.Name}} {
		if found, err := in.indexer.IndexKeys(in.name, in.value); err == nil { // the indexes are there since New
			keys = append(keys, found...)
		}
	}
	return keys
}

func askingFor(obj any) ([]string, error) {
	claim, ok := obj.(*corev1.PersistentVolumeClaim)
	if !ok || claim.Spec.VolumeName != "" || len(claimKeys(claim)) == 0 {
		return nil, nil
	}
	return []string{claim.Annotations[volume.AnnSelectedNode]}, nil
}

func nodeOf(obj any) ([]string, error) {
	pv, ok := obj.(*corev1.PersistentVolume)
	if !ok || !localpath.Provisioned(pv) {
		return nil, nil
	}
	return []string{pv.Labels[localpath.NodeLabel]}, nil
}

// reclaim deletes a volume whose claim is gone if that is its policy. Its
// node's agent then removes the data; of a node that is gone, they are gone.
func (r *reconciler) reclaim(ctx context.Context, pv *corev1.PersistentVolume) error {
	switch {
	case !localpath.Provisioned(pv):
		return nil
	case pv.DeletionTimestamp != nil:
		return r.giveUp(ctx, pv)
	case pv.Status.Phase != corev1.VolumeReleased || pv.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete:
		return nil
	}
	err := r.client.Delete(ctx, pv, client.DeleteOptions{UID: pv.UID, ResourceVersion: pv.ResourceVersion})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete volume %s: %w", pv.Name, err)
	}
	return nil
}

// giveUp lets a deleted volume go whose node is not there any more.
func (r *reconciler) giveUp(ctx context.Context, pv *corev1.PersistentVolume) error {
	if pv.Status.Phase == corev1.VolumeBound || !slices.Contains(pv.Finalizers, localpath.Finalizer) {
		return nil
	}
	name := pv.Labels[localpath.NodeLabel]
	if _, ok := r.nodes.GetByKey(name); ok {
		return nil
	}
	if err := r.client.Get(ctx, "", name, &corev1.Node{}); !apierrors.IsNotFound(err) {
		return err
	}
	released := pv.DeepCopy()
	released.Finalizers = slices.DeleteFunc(released.Finalizers, func(f string) bool { return f == localpath.Finalizer })
	if err := r.client.Update(ctx, released); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("let volume %s of the node %s, which is gone, go: %w", pv.Name, name, err)
	}
	return nil
}
