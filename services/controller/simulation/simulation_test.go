package simulation_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/testseed"
)

// world is a cluster and those who live with it.
type world struct {
	*cluster
	t       *testing.T
	rng     *rand.Rand
	auditor *auditor
}

func newWorld(t *testing.T, seed uint64) *world {
	c := newCluster(t, seed)
	return &world{cluster: c, t: t, rng: c.rng, auditor: newAuditor(t)}
}

// catchUp checks all that has been written.
func (w *world) catchUp() {
	w.t.Helper()
	synctest.Wait()
	w.auditor.audit(w.ledger.take())
}

// live lets users do things for a while.
func (w *world) live(d time.Duration) {
	deeds, total := slices.Concat(deeds, storageDeeds, quotaDeeds, autoscalingDeeds), 0
	for _, one := range deeds {
		total += one.weight
	}
	for end := time.Now().Add(d); time.Now().Before(end); {
		n := w.rng.IntN(total)
		for _, one := range deeds {
			if n -= one.weight; n < 0 {
				one.do(w)
				break
			}
		}
		// Mostly one thing follows the other at once, sometimes there is rest.
		time.Sleep([]time.Duration{0, 20 * time.Millisecond, 500 * time.Millisecond, 10 * time.Second, 2 * time.Minute}[w.rng.IntN(5)])
		w.catchUp()
	}
}

// settle ends what holds things up, and waits for the cluster to come to rest.
func (w *world) settle() {
	w.t.Helper()
	w.healNodes()
	for i := range nodeCount {
		change(w, &corev1.Node{}, "", nodeName(i), func(n *corev1.Node) { n.Spec.Unschedulable = false })
	}
	for _, name := range []string{"web-0", "web-1", "again", "crowd"} {
		change(w, &appsv1.Deployment{}, deploymentNamespace(name), name, func(d *appsv1.Deployment) { d.Spec.Paused = false })
	}
	for _, name := range []string{"sum-0", "sum-1", "sum-2"} {
		change(w, &batchv1.Job{}, "default", name, func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(false) })
	}
	w.tolerate(w.Delete(w.t.Context(), &batchv1.CronJob{ObjectMeta: metaOf("nightly")}, client.DeleteOptions{}))
	w.catchUp()
	for _, pod := range all[*corev1.Pod](w.auditor.state) {
		if isReader(pod) {
			w.tolerate(w.Delete(w.t.Context(), pod.DeepCopy(), client.DeleteOptions{UID: pod.UID}))
		}
	}
	for range 180 {
		time.Sleep(time.Minute)
		w.catchUp()
		w.unstick()
		if w.unsettled() == "" {
			break
		}
	}
	if what := w.unsettled(); what != "" {
		w.t.Fatalf("after three hours of rest %s\nafter\n%s", what, w.auditor.story())
	}
}

// unstick deletes pods that cannot start, as a claim of theirs is on its way
// out, and waits for them.
func (w *world) unstick() {
	w.t.Helper()
	for _, pod := range all[*corev1.Pod](w.auditor.state) {
		if pod.Status.Phase != corev1.PodPending || pod.Spec.NodeName == "" || !isActive(pod) {
			continue
		}
		for _, name := range claimNames(pod) {
			if claim := find[*corev1.PersistentVolumeClaim](w.auditor.state, pod.Namespace, name); claim != nil && claim.DeletionTimestamp != nil {
				w.tolerate(w.Delete(w.t.Context(), pod.DeepCopy(), client.DeleteOptions{UID: pod.UID}))
			}
		}
	}
}

// unsettled names something that is not yet as it was asked for, "" if all is.
func (w *world) unsettled() string {
	for _, obj := range w.auditor.state.objects {
		if ref := owner(obj); ref.UID != "" && w.auditor.state.objects[ref.UID] == nil {
			return fmt.Sprintf("%T %s has lost its owner %s %s", obj, obj.GetName(), ref.Kind, ref.Name)
		}
		if hpa, ok := obj.(*autoscalingv2.HorizontalPodAutoscaler); ok {
			if left := autoscalerUnmet(w.auditor.state, hpa, w.nodes.loadNow()); left != "" {
				return "the autoscaler " + left
			}
		}
		if asked := unmet(w.auditor.state, obj); asked != "" {
			return fmt.Sprintf("%T %s %s", obj, obj.GetName(), asked)
		}
	}
	return ""
}

func unmet(st *state, obj kinds.Object) string {
	switch o := obj.(type) {
	case *corev1.PersistentVolumeClaim:
		return claimUnmet(st, o)
	case *corev1.PersistentVolume:
		return volumeUnmet(st, o)
	}
	if obj.GetDeletionTimestamp() != nil {
		return "is still being deleted"
	}
	switch o := obj.(type) {
	case *appsv1.Deployment:
		s, n := o.Status, *o.Spec.Replicas
		if o.Namespace != limited && (s.ObservedGeneration != o.Generation || s.UpdatedReplicas != n || s.Replicas != n || s.AvailableReplicas != n) {
			return fmt.Sprintf("of %d pods has %+v", n, s)
		}
	case *appsv1.StatefulSet:
		s, n := o.Status, *o.Spec.Replicas
		if s.ObservedGeneration != o.Generation || s.UpdatedReplicas != n || s.Replicas != n || s.ReadyReplicas != n {
			return fmt.Sprintf("of %d pods has %+v", n, s)
		}
		return setUnmet(st, o)
	case *appsv1.DaemonSet:
		s := o.Status
		if s.ObservedGeneration != o.Generation || s.DesiredNumberScheduled != nodeCount || s.UpdatedNumberScheduled != nodeCount || s.NumberAvailable != nodeCount {
			return fmt.Sprintf("has %+v", s)
		}
	case *corev1.ResourceQuota:
		return quotaUnmet(st, o)
	case *batchv1.Job:
		if jobEnd(o) == "" && o.Namespace != limited {
			return fmt.Sprintf("has not ended: %+v", o.Status)
		}
	}
	return ""
}

// TestDays lets days of users, failures and kills pass, each in parts of three
// busy hours and the rest after them, by a seed of its own.
func TestDays(t *testing.T) {
	first := testseed.Of(t)
	for part := range uint64(testseed.Times(t, 1)) {
		t.Run(fmt.Sprintf("seed %d", first+part), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, first+part)
				w.prepare(t.Context())
				w.live(3 * time.Hour)
				w.settle()
			})
		})
	}
}
