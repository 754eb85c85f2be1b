package replicaset

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/ownership"
	"navarch.dev/navarch/services/controller/runner"
)

// NewReplicationController returns the controller of ReplicationControllers.
func NewReplicationController(deps runner.Deps) (*runner.Controller, error) {
	rcs, err := client.InformerFor[*corev1.ReplicationController](deps.Informers, ownership.Indexers())
	if err != nil {
		return nil, err
	}
	src := source{
		kind: rcs.Kind(),
		get: func(key string) (*appsv1.ReplicaSet, kinds.Object, bool) {
			rc, ok := rcs.GetByKey(key)
			if !ok {
				return nil, nil, false
			}
			return asReplicaSet(rc), rc, true
		},
		writeStatus: func(ctx context.Context, rs *appsv1.ReplicaSet, owner kinds.Object) error {
			rc, ok := owner.DeepCopyObject().(*corev1.ReplicationController)
			if !ok {
				return fmt.Errorf("%T is not a ReplicationController", owner)
			}
			rc.Status = asReplicationControllerStatus(rs.Status)
			return deps.Client.UpdateStatus(ctx, rc)
		},
		ownedBy: ownedBy(rcs),
	}
	return assemble(deps, "replicationcontroller", src, rcs, func(rc *corev1.ReplicationController) (labels.Selector, error) {
		return labels.SelectorFromSet(rc.Spec.Selector), nil
	})
}

// asReplicaSet shows a ReplicationController as the engine's kind.
func asReplicaSet(rc *corev1.ReplicationController) *appsv1.ReplicaSet {
	rs := &appsv1.ReplicaSet{
		ObjectMeta: rc.ObjectMeta,
		Spec: appsv1.ReplicaSetSpec{
			Replicas: rc.Spec.Replicas, MinReadySeconds: rc.Spec.MinReadySeconds,
			Selector: &metav1.LabelSelector{MatchLabels: rc.Spec.Selector},
		},
		Status: appsv1.ReplicaSetStatus{
			Replicas: rc.Status.Replicas, FullyLabeledReplicas: rc.Status.FullyLabeledReplicas,
			ReadyReplicas: rc.Status.ReadyReplicas, AvailableReplicas: rc.Status.AvailableReplicas,
			ObservedGeneration: rc.Status.ObservedGeneration,
		},
	}
	if rc.Spec.Template != nil {
		rs.Spec.Template = *rc.Spec.Template
	}
	for _, c := range rc.Status.Conditions {
		rs.Status.Conditions = append(rs.Status.Conditions, appsv1.ReplicaSetCondition{
			Type: appsv1.ReplicaSetConditionType(c.Type), Status: c.Status,
			LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
		})
	}
	return rs
}

func asReplicationControllerStatus(s appsv1.ReplicaSetStatus) corev1.ReplicationControllerStatus {
	status := corev1.ReplicationControllerStatus{
		Replicas: s.Replicas, FullyLabeledReplicas: s.FullyLabeledReplicas,
		ReadyReplicas: s.ReadyReplicas, AvailableReplicas: s.AvailableReplicas,
		ObservedGeneration: s.ObservedGeneration,
	}
	for _, c := range s.Conditions {
		status.Conditions = append(status.Conditions, corev1.ReplicationControllerCondition{
			Type: corev1.ReplicationControllerConditionType(c.Type), Status: c.Status,
			LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
		})
	}
	return status
}
