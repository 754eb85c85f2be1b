package localpath

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/component-helpers/storage/volume"

	"navarch.dev/navarch/internal/localpath"
	"navarch.dev/navarch/internal/storageclass"
)

// chooseNode returns the node of a claim's volume: the one that the scheduler
// has chosen for its first pod or, where the class binds at once, the one with
// the fewest volumes.
func (r *reconciler) chooseNode(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) (*corev1.Node, error) {
	if name := claim.Annotations[volume.AnnSelectedNode]; name != "" {
		node, ok := r.nodes.GetByKey(name)
		switch {
		case !ok:
			return nil, fmt.Errorf("node %q not found", name)
		case node.Annotations[localpath.DirAnnotation] == "":
			return nil, fmt.Errorf("node %q keeps no local-path volumes: it has no annotation %s", name, localpath.DirAnnotation)
		}
		return node, nil
	}
	fit := slices.DeleteFunc(r.nodes.List(), func(n *corev1.Node) bool { return !takesVolumes(n, class) })
	if len(fit) == 0 {
		return nil, errors.New("no node that is ready keeps local-path volumes")
	}
	return slices.MinFunc(fit, func(a, b *corev1.Node) int {
		return cmp.Or(cmp.Compare(r.volumesOn(a.Name), r.volumesOn(b.Name)), cmp.Compare(a.Name, b.Name))
	}), nil
}

func (r *reconciler) volumesOn(node string) int {
	keys, err := r.volumes.Indexer().IndexKeys(nodeIndex, node)
	if err != nil {
		return 0 // the index is there since New
	}
	return len(keys)
}

// takesVolumes says whether a claim that waits for no pod may get its volume on
// a node.
func takesVolumes(node *corev1.Node, class *storagev1.StorageClass) bool {
	return node.Annotations[localpath.DirAnnotation] != "" && !node.Spec.Unschedulable && ready(node) &&
		storageclass.Allows(class, node.Labels)
}

func ready(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// chooseAgain has the scheduler choose another node for a claim's first pod.
func (r *reconciler) chooseAgain(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	again := claim.DeepCopy()
	delete(again.Annotations, volume.AnnSelectedNode)
	if err := r.client.Update(ctx, again); err != nil {
		return fmt.Errorf("have another node chosen for claim %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	return nil
}
