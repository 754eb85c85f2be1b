package deployment

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"

	"navarch.dev/navarch/internal/kinds/podspec"
)

// split tells the new ReplicaSet from the old ones. If several have the
// present template (a cluster may hold such from elsewhere), the oldest is the
// new one.
func (ro *rollout) split(claimed []*appsv1.ReplicaSet) {
	sets := make([]*appsv1.ReplicaSet, len(claimed))
	for i, rs := range claimed {
		sets[i] = rs.DeepCopy()
	}
	slices.SortFunc(sets, olderFirst)
	for _, rs := range sets {
		if ro.newRS == nil && sameTemplate(&rs.Spec.Template, &ro.d.Spec.Template) {
			ro.newRS = rs
		} else {
			ro.oldRSs = append(ro.oldRSs, rs)
		}
	}
}

func olderFirst(a, b *appsv1.ReplicaSet) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}

// sameTemplate compares templates without the label that tells versions apart, and
// with the defaults of today: those that came with an upgrade make no new version.
func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	a, b = a.DeepCopy(), b.DeepCopy()
	delete(a.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	delete(b.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	if equality.Semantic.DeepEqual(a, b) {
		return true
	}
	podspec.SetDefaults(&a.Spec)
	podspec.SetDefaults(&b.Spec)
	return equality.Semantic.DeepEqual(a, b)
}

// templateHash names a version of the template. collisions is how many times
// the name so made was taken already.
func templateHash(template *corev1.PodTemplateSpec, collisions *int32) (string, error) {
	b, err := json.Marshal(template) // maps are written in the order of their keys
	if err != nil {
		return "", fmt.Errorf("hash the pod template: %w", err)
	}
	h := fnv.New32a()
	h.Write(b)
	if collisions != nil {
		var c [8]byte
		binary.LittleEndian.PutUint64(c[:], uint64(*collisions))
		h.Write(c[:])
	}
	return rand.SafeEncodeString(fmt.Sprint(h.Sum32())), nil
}

// ensureNew makes sure that the new ReplicaSet exists, with the Deployment's
// annotations and the newest revision.
func (ro *rollout) ensureNew(ctx context.Context) error {
	revision := newestRevision(ro.oldRSs) + 1
	if ro.newRS == nil {
		if err := ro.createNew(ctx, revision); err != nil {
			return err
		}
	} else {
		changed := annotate(ro.d, ro.newRS, revision, true)
		if ro.newRS.Spec.MinReadySeconds != ro.d.Spec.MinReadySeconds {
			ro.newRS.Spec.MinReadySeconds = ro.d.Spec.MinReadySeconds
			changed = true
		}
		if changed {
			if err := ro.client.Update(ctx, ro.newRS); err != nil {
				return fmt.Errorf("update replica set %s: %w", ro.newRS.Name, err)
			}
			ro.wrote(ro.newRS)
		}
		if ro.progressDeadline() > 0 && condition(ro.d.Status, appsv1.DeploymentProgressing) == nil {
			setCondition(&ro.d.Status, ro.progressing(corev1.ConditionTrue, reasonFoundNewReplicaSet,
				fmt.Sprintf("Found new replica set %q", ro.newRS.Name)))
		}
	}
	return ro.adoptRevision(ctx)
}

// createNew creates the ReplicaSet of the present template, at once as large
// as the strategy allows.
func (ro *rollout) createNew(ctx context.Context, revision int64) error {
	rs, err := ro.newReplicaSet(revision)
	if err != nil {
		return err
	}
	ro.newRS = rs
	*rs.Spec.Replicas = ro.newSize()
	err = ro.client.Create(ctx, rs)
	switch {
	case apierrors.IsAlreadyExists(err):
		return ro.resolveCollision(ctx)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return err
	case err != nil:
		return ro.noteCreateFailure(ctx, err)
	}
	ro.wrote(rs)
	if n := size(rs); n > 0 {
		ro.events.Event(ro.d, corev1.EventTypeNormal, "ScalingReplicaSet",
			fmt.Sprintf("Scaled up replica set %s from 0 to %d", rs.Name, n))
	}
	if ro.progressDeadline() > 0 {
		setCondition(&ro.d.Status, ro.progressing(corev1.ConditionTrue, reasonNewReplicaSetCreated,
			fmt.Sprintf("Created new replica set %q", rs.Name)))
	}
	return nil
}

func (ro *rollout) newReplicaSet(revision int64) (*appsv1.ReplicaSet, error) {
	hash, err := templateHash(&ro.d.Spec.Template, ro.d.Status.CollisionCount)
	if err != nil {
		return nil, err
	}
	template := ro.d.Spec.Template.DeepCopy()
	template.Labels = withHash(template.Labels, hash)
	selector := ro.d.Spec.Selector.DeepCopy()
	selector.MatchLabels = withHash(selector.MatchLabels, hash)
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: ro.d.Namespace, Name: ro.d.Name + "-" + hash, Labels: maps.Clone(template.Labels),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(ro.d, ro.deployments.Kind().GVK())},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: new(int32), MinReadySeconds: ro.d.Spec.MinReadySeconds,
			Selector: selector, Template: *template,
		},
	}
	annotate(ro.d, rs, revision, false)
	return rs, nil
}

func withHash(l map[string]string, hash string) map[string]string {
	l = maps.Clone(l)
	if l == nil {
		l = make(map[string]string, 1)
	}
	l[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	return l
}

// resolveCollision handles that the new ReplicaSet's name is taken: by the
// very set we want (our informer has not shown it yet), or by another one; then
// a higher collision count makes the next attempt use another name.
func (ro *rollout) resolveCollision(ctx context.Context) error {
	taken := &appsv1.ReplicaSet{}
	if err := ro.client.Get(ctx, ro.newRS.Namespace, ro.newRS.Name, taken); err != nil {
		return fmt.Errorf("read the replica set in the new one's place: %w", err)
	}
	if metav1.IsControlledBy(taken, ro.d) && sameTemplate(&taken.Spec.Template, &ro.d.Spec.Template) {
		ro.newRS = taken
		return nil
	}
	status := *ro.d.Status.DeepCopy()
	var count int32
	if status.CollisionCount != nil {
		count = *status.CollisionCount
	}
	count++
	status.CollisionCount = &count
	if err := ro.writeStatus(ctx, status); err != nil {
		return err
	}
	return fmt.Errorf("replica set name %s is taken: will try another", taken.Name)
}

// noteCreateFailure shows in the status why there is no new ReplicaSet.
func (ro *rollout) noteCreateFailure(ctx context.Context, cause error) error {
	cause = fmt.Errorf("create a new replica set: %w", cause)
	status := *ro.d.Status.DeepCopy()
	if ro.progressDeadline() > 0 {
		setCondition(&status, ro.progressing(corev1.ConditionFalse, reasonFailedCreate,
			fmt.Sprintf("Failed to create new replica set %q: %v", ro.newRS.Name, cause)))
		if err := ro.writeStatus(ctx, status); err != nil {
			return err
		}
	}
	ro.events.Event(ro.d, corev1.EventTypeWarning, reasonFailedCreate, cause.Error())
	return cause
}

// size is how many pods a ReplicaSet should have.
func size(rs *appsv1.ReplicaSet) int32 {
	if rs == nil || rs.Spec.Replicas == nil {
		return 0
	}
	return *rs.Spec.Replicas
}

func totalSize(sets []*appsv1.ReplicaSet) (n int32) {
	for _, rs := range sets {
		n += size(rs)
	}
	return n
}

// available is how many pods of a ReplicaSet serve and will be left to. Its
// status may still count pods that it has been told to give up.
func available(rs *appsv1.ReplicaSet) int32 {
	return min(rs.Status.AvailableReplicas, size(rs))
}

func totalAvailable(sets []*appsv1.ReplicaSet) (n int32) {
	for _, rs := range sets {
		n += available(rs)
	}
	return n
}

// active returns the sets that should have pods.
func active(sets []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	return slices.DeleteFunc(slices.Clone(sets), func(rs *appsv1.ReplicaSet) bool { return size(rs) == 0 })
}
