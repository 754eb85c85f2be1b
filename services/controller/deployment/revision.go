package deployment

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/client"
)

// The annotations by which kubectl and this package know a rollout's history.
const (
	// RevisionAnnotation numbers the versions of a Deployment's template.
	RevisionAnnotation = "deployment.kubernetes.io/revision"
	// RevisionHistoryAnnotation lists the revisions a ReplicaSet has been
	// before, separated by commas.
	RevisionHistoryAnnotation = "deployment.kubernetes.io/revision-history"
	// DesiredReplicasAnnotation is the Deployment's size when the ReplicaSet
	// was last scaled.
	DesiredReplicasAnnotation = "deployment.kubernetes.io/desired-replicas"
	// MaxReplicasAnnotation is that size and the surge allowed with it.
	MaxReplicasAnnotation = "deployment.kubernetes.io/max-replicas"

	// maxHistoryLength bounds the revision-history annotation.
	maxHistoryLength = 2000
)

// isOwn says whether an annotation is the rollout's own, and not copied from
// the Deployment to its ReplicaSets.
func isOwn(annotation string) bool {
	switch annotation {
	case corev1.LastAppliedConfigAnnotation, RevisionAnnotation, RevisionHistoryAnnotation,
		DesiredReplicasAnnotation, MaxReplicasAnnotation, appsv1.DeprecatedRollbackTo:
		return true
	}
	return false
}

// revisionOf returns a ReplicaSet's revision, 0 without one.
func revisionOf(obj metav1.Object) int64 {
	n, err := strconv.ParseInt(obj.GetAnnotations()[RevisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func newestRevision(sets []*appsv1.ReplicaSet) (newest int64) {
	for _, rs := range sets {
		newest = max(newest, revisionOf(rs))
	}
	return newest
}

// annotate sets the new ReplicaSet's annotations and says whether any changed.
func annotate(d *appsv1.Deployment, rs *appsv1.ReplicaSet, revision int64, exists bool) (changed bool) {
	if rs.Annotations == nil {
		rs.Annotations = make(map[string]string)
	}
	for k, v := range d.Annotations {
		if have, ok := rs.Annotations[k]; !isOwn(k) && (!ok || have != v) {
			rs.Annotations[k] = v
			changed = true
		}
	}
	old, had := rs.Annotations[RevisionAnnotation]
	if before := revisionOf(rs); before < revision {
		rs.Annotations[RevisionAnnotation] = strconv.FormatInt(revision, 10)
		if had && before > 0 {
			rs.Annotations[RevisionHistoryAnnotation] = appendHistory(rs.Annotations[RevisionHistoryAnnotation], old)
		}
		changed = true
	}
	if !exists && annotateSize(d, rs) {
		changed = true
	}
	return changed
}

// appendHistory adds a revision and drops the oldest ones where the list gets
// too long.
func appendHistory(history, revision string) string {
	if history == "" {
		return revision
	}
	history += "," + revision
	for len(history) > maxHistoryLength {
		_, history, _ = strings.Cut(history, ",")
	}
	return history
}

// annotateSize notes the Deployment's size on a ReplicaSet, by which a later
// reconcile sees that the Deployment has been resized.
func annotateSize(d *appsv1.Deployment, rs *appsv1.ReplicaSet) (changed bool) {
	if rs.Annotations == nil {
		rs.Annotations = make(map[string]string)
	}
	desired := *d.Spec.Replicas
	for k, n := range map[string]int32{DesiredReplicasAnnotation: desired, MaxReplicasAnnotation: desired + maxSurge(d)} {
		if v := strconv.Itoa(int(n)); rs.Annotations[k] != v {
			rs.Annotations[k] = v
			changed = true
		}
	}
	return changed
}

// sizeAnnotation reads one of the numbers that annotateSize writes.
func sizeAnnotation(rs *appsv1.ReplicaSet, name string) (int32, bool) {
	n, err := strconv.ParseInt(rs.Annotations[name], 10, 32)
	return int32(n), err == nil
}

// adoptRevision gives the Deployment the new ReplicaSet's revision. It is written
// as a part of the status: the generation counts what users ask for.
func (ro *rollout) adoptRevision(ctx context.Context) error {
	revision := ro.newRS.Annotations[RevisionAnnotation]
	if ro.d.Annotations[RevisionAnnotation] == revision {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": ro.d.UID, "annotations": map[string]string{RevisionAnnotation: revision},
	}})
	if err != nil {
		return fmt.Errorf("encode the revision: %w", err)
	}
	patched := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: ro.d.Namespace, Name: ro.d.Name}}
	if err := ro.client.Patch(ctx, patched, types.MergePatchType, patch, "status"); err != nil {
		return fmt.Errorf("set the deployment's revision to %s: %w", revision, err)
	}
	if patched.Generation == ro.d.Generation {
		// Nothing but the annotation changed, so that a status computed from
		// what we have is still true of it.
		ro.d.ResourceVersion = patched.ResourceVersion
	}
	ro.d.Annotations = patched.Annotations
	return nil
}

// cleanUp deletes old ReplicaSets beyond the revision history limit.
func (ro *rollout) cleanUp(ctx context.Context) error {
	if ro.d.Spec.RevisionHistoryLimit == nil || *ro.d.Spec.RevisionHistoryLimit == math.MaxInt32 {
		return nil
	}
	old := slices.DeleteFunc(slices.Clone(ro.oldRSs), func(rs *appsv1.ReplicaSet) bool { return rs.DeletionTimestamp != nil })
	surplus := len(old) - int(*ro.d.Spec.RevisionHistoryLimit)
	if surplus <= 0 {
		return nil
	}
	slices.SortStableFunc(old, func(a, b *appsv1.ReplicaSet) int { return cmp.Compare(revisionOf(a), revisionOf(b)) })
	for _, rs := range old[:surplus] {
		if rs.Status.Replicas != 0 || size(rs) != 0 || rs.Generation > rs.Status.ObservedGeneration {
			continue // still has pods, or may get some
		}
		err := ro.client.Delete(ctx, rs, client.DeleteOptions{UID: rs.UID})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete old replica set %s: %w", rs.Name, err)
		}
	}
	return nil
}
