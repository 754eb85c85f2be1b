package localpath

import (
	"context"
	"fmt"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/localpath"
	"navarch.dev/navarch/internal/storageclass"
)

// provision makes the volume of a claim. It is named for the claim, so that
// there is one however often this is tried.
func (r *reconciler) provision(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	class, ok := r.classes.GetByKey(volume.GetPersistentVolumeClaimClass(claim))
	if !ok || class.Provisioner != localpath.Provisioner || len(claimKeys(claim)) == 0 {
		return nil
	}
	name := "pvc-" + string(claim.UID)
	if _, ok := r.volumes.GetByKey(name); ok {
		return nil // it is being bound
	}
	if reason := unsupported(claim); reason != "" {
		r.failed(claim, class, reason)
		return nil
	}
	delayed := storageclass.IsDelayed(class)
	if delayed && !volume.IsDelayBindingProvisioning(claim) {
		return nil // its first pod has no node yet
	}
	node, err := r.chooseNode(claim, class)
	if err != nil {
		r.failed(claim, class, err.Error())
		if delayed {
			return r.chooseAgain(ctx, claim)
		}
		return nil
	}
	r.events.Event(claim, corev1.EventTypeNormal, "Provisioning",
		fmt.Sprintf("External provisioner is provisioning volume for claim %q", claim.Namespace+"/"+claim.Name))
	if err := r.client.Create(ctx, newVolume(name, claim, class, node)); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("make volume %s: %w", name, err)
	}
	r.events.Event(claim, corev1.EventTypeNormal, "ProvisioningSucceeded", "Successfully provisioned volume "+name)
	return nil
}

// unsupported says what of a claim a folder cannot be, "" if nothing.
func unsupported(claim *corev1.PersistentVolumeClaim) string {
	switch {
	case ptr.Deref(claim.Spec.VolumeMode, "") == corev1.PersistentVolumeBlock:
		return localpath.Provisioner + " does not support block volume provisioning"
	case claim.Spec.Selector != nil:
		return "claim.spec.selector is not supported"
	case claim.Spec.DataSource != nil || claim.Spec.DataSourceRef != nil:
		return "claim.spec.dataSource is not supported"
	}
	for _, mode := range claim.Spec.AccessModes {
		if mode != corev1.ReadWriteOnce && mode != corev1.ReadWriteOncePod {
			return fmt.Sprintf("access mode %s is not supported: a folder of one node can be %s or %s",
				mode, corev1.ReadWriteOnce, corev1.ReadWriteOncePod)
		}
	}
	return ""
}

func (r *reconciler) failed(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, reason string) {
	r.events.Event(claim, corev1.EventTypeWarning, "ProvisioningFailed",
		fmt.Sprintf("failed to provision volume with StorageClass %q: %s", class.Name, reason))
}

// newVolume is the volume of a claim on a node.
func newVolume(name string, claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, node *corev1.Node) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Finalizers: []string{localpath.Finalizer}, Labels: map[string]string{localpath.NodeLabel: node.Name},
			Annotations: map[string]string{volume.AnnDynamicallyProvisioned: localpath.Provisioner},
		},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:    corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage]},
			AccessModes: claim.Spec.AccessModes,
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name,
				UID: claim.UID, ResourceVersion: claim.ResourceVersion,
			},
			PersistentVolumeReclaimPolicy: ptr.Deref(class.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete),
			StorageClassName:              class.Name,
			VolumeMode:                    ptr.To(corev1.PersistentVolumeFilesystem),
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				Local: &corev1.LocalVolumeSource{Path: filepath.Join(node.Annotations[localpath.DirAnnotation], name)},
			},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{
					Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node.Labels[corev1.LabelHostname]},
				}},
			}}}},
		},
	}
}

// expand makes a volume as large as its claim asks for by now. A folder has no
// size of its own: the figure is all there is to change.
func (r *reconciler) expand(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	pv, ok := r.volumes.GetByKey(claim.Spec.VolumeName)
	wanted := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	have := claim.Status.Capacity[corev1.ResourceStorage]
	if !ok || !localpath.Provisioned(pv) || claim.Status.Phase != corev1.ClaimBound || wanted.Cmp(have) <= 0 {
		return nil
	}
	class, ok := r.classes.GetByKey(pv.Spec.StorageClassName)
	if !ok || !ptr.Deref(class.AllowVolumeExpansion, false) {
		return nil
	}
	if size := pv.Spec.Capacity[corev1.ResourceStorage]; size.Cmp(wanted) < 0 {
		larger := pv.DeepCopy()
		larger.Spec.Capacity[corev1.ResourceStorage] = wanted
		if err := r.client.Update(ctx, larger); err != nil {
			return fmt.Errorf("enlarge volume %s: %w", pv.Name, err)
		}
	}
	larger := claim.DeepCopy()
	larger.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: wanted}
	larger.Status.Conditions, larger.Status.AllocatedResources, larger.Status.AllocatedResourceStatuses = nil, nil, nil
	if err := r.client.UpdateStatus(ctx, larger); err != nil {
		return fmt.Errorf("show claim %s/%s as larger: %w", claim.Namespace, claim.Name, err)
	}
	r.events.Event(claim, corev1.EventTypeNormal, "VolumeResizeSuccessful", "Resize volume succeeded")
	return nil
}
