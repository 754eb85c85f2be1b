package disruption

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/ownership"
	"navarch.dev/navarch/services/controller/runner"
	"navarch.dev/navarch/services/controller/scale"
)

// workloads knows how many pods each controller of pods wants.
type workloads struct {
	client                 *client.Client
	kinds                  *kinds.Registry
	deployments            *client.Informer[*appsv1.Deployment]
	replicaSets            *client.Informer[*appsv1.ReplicaSet]
	statefulSets           *client.Informer[*appsv1.StatefulSet]
	replicationControllers *client.Informer[*corev1.ReplicationController]
	pods                   *client.Informer[*corev1.Pod]
}

func newWorkloads(deps runner.Deps) (*workloads, error) {
	w := &workloads{client: deps.Client, kinds: deps.Kinds}
	var err error
	if w.deployments, err = client.InformerFor[*appsv1.Deployment](deps.Informers, nil); err != nil {
		return nil, err
	}
	if w.pods, err = client.InformerFor[*corev1.Pod](deps.Informers, ownership.Indexers()); err != nil {
		return nil, err
	}
	if w.replicaSets, err = client.InformerFor[*appsv1.ReplicaSet](deps.Informers, ownership.Indexers()); err != nil {
		return nil, err
	}
	if w.statefulSets, err = client.InformerFor[*appsv1.StatefulSet](deps.Informers, nil); err != nil {
		return nil, err
	}
	w.replicationControllers, err = client.InformerFor[*corev1.ReplicationController](deps.Informers, nil)
	return w, err
}

// podsOf returns the pods of a workload, a Deployment's through its ReplicaSets.
func (w *workloads) podsOf(workload kinds.Object) []*corev1.Pod {
	owners := []types.UID{workload.GetUID()}
	sets, _ := ownership.Owned(w.replicaSets, workload.GetUID()) // fails only without the index
	for _, rs := range sets {
		owners = append(owners, rs.UID)
	}
	var all []*corev1.Pod
	for _, uid := range owners {
		pods, _ := ownership.Owned(w.pods, uid)
		all = append(all, pods...)
	}
	return all
}

// scale returns how many pods the controllers of the given ones want together.
// unmanaged says that some have no controller.
func (w *workloads) scale(ctx context.Context, pods []*corev1.Pod) (sum int32, unmanaged bool, err error) {
	looked, counted := make(map[types.UID]bool), make(map[types.UID]bool)
	for _, pod := range pods {
		ref := metav1.GetControllerOfNoCopy(pod)
		if ref == nil {
			unmanaged = true
			continue
		}
		if looked[ref.UID] {
			continue
		}
		looked[ref.UID] = true
		uid, replicas, err := w.scaleOf(ctx, ref, pod.Namespace)
		if err != nil {
			return 0, false, err
		}
		if uid == "" {
			return 0, false, fmt.Errorf("found no controllers for pod %q", pod.Name)
		}
		if !counted[uid] {
			counted[uid] = true
			sum += replicas
		}
	}
	return sum, unmanaged, nil
}

// scaleOf returns how many pods the workload that a controller reference leads
// to wants. The uid is empty if it is gone.
func (w *workloads) scaleOf(ctx context.Context, ref *metav1.OwnerReference, namespace string) (types.UID, int32, error) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return "", 0, fmt.Errorf("read the controller reference: %w", err)
	}
	switch gv.WithKind(ref.Kind).GroupKind() {
	case schema.GroupKind{Group: appsv1.GroupName, Kind: "ReplicaSet"}:
		return w.scaleOfReplicaSet(ref, namespace)
	case schema.GroupKind{Group: appsv1.GroupName, Kind: "StatefulSet"}:
		if s, ok := w.statefulSets.Get(namespace, ref.Name); ok && s.UID == ref.UID {
			return s.UID, ptr.Deref(s.Spec.Replicas, 1), nil
		}
	case schema.GroupKind{Kind: "ReplicationController"}:
		if rc, ok := w.replicationControllers.Get(namespace, ref.Name); ok && rc.UID == ref.UID {
			return rc.UID, ptr.Deref(rc.Spec.Replicas, 1), nil
		}
	default:
		return w.scaleOfOther(ctx, gv.WithKind(ref.Kind), ref, namespace)
	}
	return "", 0, nil
}

// scaleOfOther asks the Store for the scale of an object of another kind.
func (w *workloads) scaleOfOther(ctx context.Context, gvk schema.GroupVersionKind, ref *metav1.OwnerReference, namespace string) (types.UID, int32, error) {
	kind, err := scale.KindOf(w.kinds, gvk)
	if err != nil {
		return "", 0, err
	}
	s, err := scale.Get(ctx, w.client, kind, namespace, ref.Name)
	if apierrors.IsNotFound(err) || err == nil && s.UID != ref.UID {
		return "", 0, nil
	}
	if err != nil {
		return "", 0, fmt.Errorf("read the scale of %s %q: %w", kind.Kind, ref.Name, err)
	}
	return s.UID, s.Spec.Replicas, nil
}

// scaleOfReplicaSet returns the set's scale or, if it is a Deployment's, the
// Deployment's: during a rollout its sets share it.
func (w *workloads) scaleOfReplicaSet(ref *metav1.OwnerReference, namespace string) (types.UID, int32, error) {
	rs, ok := w.replicaSets.Get(namespace, ref.Name)
	if !ok || rs.UID != ref.UID {
		return "", 0, nil
	}
	owner := metav1.GetControllerOfNoCopy(rs)
	if owner == nil || owner.Kind != "Deployment" {
		return rs.UID, ptr.Deref(rs.Spec.Replicas, 1), nil
	}
	if d, ok := w.deployments.Get(namespace, owner.Name); ok && d.UID == owner.UID {
		return d.UID, ptr.Deref(d.Spec.Replicas, 1), nil
	}
	return "", 0, nil
}
