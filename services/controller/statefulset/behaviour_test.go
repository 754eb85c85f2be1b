package statefulset_test

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/statefulset"
)

// byHand runs the controller where the test itself says which pods run and
// which have ended.
func byHand(t *testing.T, set *appsv1.StatefulSet) *controllertest.Cluster {
	c := controllertest.New(t)
	c.Start(c.Controller(statefulset.New(c.Deps)))
	c.Apply(set)
	return c
}

// run makes a pod run, and ready or not.
func run(t *testing.T, c *controllertest.Cluster, name string, ready bool) {
	t.Helper()
	pod := &corev1.Pod{}
	if err := c.Get(t.Context(), "default", name, pod); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReady(t.Context(), pod, ready); err != nil {
		t.Fatal(err)
	}
}

func podsAre(t *testing.T, c *controllertest.Cluster, want string) []*corev1.Pod {
	t.Helper()
	return controllertest.Await(c, "the pods "+want, func(all []*corev1.Pod) bool { return names(all) == want })
}

// observed awaits that the controller has seen a number of pods and ready ones.
func observed(t *testing.T, c *controllertest.Cluster, pods, ready int32) {
	t.Helper()
	controllertest.Await(c, fmt.Sprintf("%d pods, %d ready", pods, ready), func(all []*appsv1.StatefulSet) bool {
		s := all[0].Status
		return s.ObservedGeneration == all[0].Generation && s.Replicas == pods && s.ReadyReplicas == ready
	})
}

func TestOnePodAfterTheOther(t *testing.T) {
	c := byHand(t, db(3))
	podsAre(t, c, "db-0")
	run(t, c, "db-0", false)
	observed(t, c, 1, 0) // it runs, but is not ready
	podsAre(t, c, "db-0")
	run(t, c, "db-0", true)
	podsAre(t, c, "db-0 db-1")
	// A pod that is not ready holds up those after it, whichever it is.
	run(t, c, "db-0", false)
	run(t, c, "db-1", true)
	observed(t, c, 2, 1)
	podsAre(t, c, "db-0 db-1")
	run(t, c, "db-0", true)
	podsAre(t, c, "db-0 db-1 db-2")
}

func TestParallel(t *testing.T) {
	set := db(3)
	set.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
	c := byHand(t, set)
	podsAre(t, c, "db-0 db-1 db-2") // none of which runs
	controllertest.Change(c, set, "", func(s *appsv1.StatefulSet) { s.Spec.Replicas = ptr.To[int32](1) })
	controllertest.Await(c, "all others deleted at once", func(all []*corev1.Pod) bool {
		deleted := 0
		for _, pod := range all {
			if pod.DeletionTimestamp != nil {
				deleted++
			}
		}
		return len(all)-deleted == 1 && all[0].DeletionTimestamp == nil
	})
}

// A pod that is taken out of what selects it by its name comes back.
func TestLostLabelsComeBack(t *testing.T) {
	c := byHand(t, db(1))
	pod := podsAre(t, c, "db-0")[0]
	run(t, c, "db-0", true)
	controllertest.Change(c, pod.DeepCopy(), "", func(p *corev1.Pod) {
		delete(p.Labels, appsv1.StatefulSetPodNameLabel)
		delete(p.Labels, appsv1.PodIndexLabel)
	})
	controllertest.Await(c, "its labels", func(all []*corev1.Pod) bool {
		return len(all) == 1 && all[0].UID == pod.UID && all[0].Labels[appsv1.StatefulSetPodNameLabel] == "db-0" && all[0].Labels[appsv1.PodIndexLabel] == "0"
	})
}

// Where nothing goes in order an update does not wait for surplus pods to end.
func TestParallelUpdateBesideSurplusPods(t *testing.T) {
	set := db(2)
	set.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
	c := byHand(t, set)
	last := podsAre(t, c, "db-0 db-1")[1]
	controllertest.Change(c, last.DeepCopy(), "", func(p *corev1.Pod) { p.Finalizers = []string{"example.com/slow"} })
	run(t, c, "db-0", true)
	run(t, c, "db-1", true)
	observed(t, c, 2, 2)
	controllertest.Change(c, set, "", func(s *appsv1.StatefulSet) {
		s.Spec.Replicas = ptr.To[int32](1)
		s.Spec.Template.Spec.Containers[0].Image = "db:2"
	})
	controllertest.Await(c, "db-0 to be replaced while db-1 is still there", func(all []*corev1.Pod) bool {
		return names(all) != "db-0" && (all[0].DeletionTimestamp != nil || all[0].Spec.Containers[0].Image == "db:2")
	})
}

// TestScaleDownOneAfterTheOther has pods whose end takes until the test says
// so.
func TestScaleDownOneAfterTheOther(t *testing.T) {
	set := db(3)
	c := byHand(t, set)
	for i := range 3 {
		name := fmt.Sprint("db-", i)
		controllertest.Await(c, name, func(all []*corev1.Pod) bool { return len(all) == i+1 })
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
		controllertest.Change(c, pod, "", func(p *corev1.Pod) { p.Finalizers = []string{"example.com/slow"} })
		run(t, c, name, true)
	}
	observed(t, c, 3, 3)
	controllertest.Change(c, set, "", func(s *appsv1.StatefulSet) { s.Spec.Replicas = ptr.To[int32](1) })
	deleted := func(want string) func([]*corev1.Pod) bool {
		return func(all []*corev1.Pod) bool {
			var going []*corev1.Pod
			for _, pod := range all {
				if pod.DeletionTimestamp != nil {
					going = append(going, pod)
				}
			}
			return names(going) == want
		}
	}
	last := controllertest.Await(c, "only the last deleted", deleted("db-2"))[2]
	controllertest.Await(c, "the controller to have seen it", func(all []*appsv1.StatefulSet) bool { return all[0].Status.ObservedGeneration == all[0].Generation })
	controllertest.Await(c, "still only the last deleted", deleted("db-2"))
	controllertest.Change(c, last, "", func(p *corev1.Pod) { p.Finalizers = nil })
	if err := c.End(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	controllertest.Await(c, "then the one before", deleted("db-1"))
}

// TestScaleDownHalts has pods that are not healthy while the set is scaled down.
func TestScaleDownHalts(t *testing.T) {
	for name, tt := range map[string]struct {
		unready []string
		want    string // the pods left
	}{
		"the last one goes, as no other ails": {[]string{"db-2"}, "db-0"},
		"those after the only one that ails":  {[]string{"db-1"}, "db-0"},
		"one that is not the first that ails": {[]string{"db-1", "db-2"}, "db-0 db-1 db-2"},
	} {
		t.Run(name, func(t *testing.T) {
			set := db(3)
			c := byHand(t, set)
			for i := range 3 {
				name := fmt.Sprint("db-", i)
				controllertest.Await(c, name, func(all []*corev1.Pod) bool { return len(all) == i+1 })
				run(t, c, name, true)
			}
			observed(t, c, 3, 3)
			for _, name := range tt.unready {
				run(t, c, name, false)
			}
			observed(t, c, 3, int32(3-len(tt.unready)))
			controllertest.Change(c, set, "", func(s *appsv1.StatefulSet) { s.Spec.Replicas = ptr.To[int32](1) })
			controllertest.Await(c, "the change seen", func(all []*appsv1.StatefulSet) bool { return all[0].Status.ObservedGeneration == all[0].Generation })
			podsAre(t, c, tt.want)
		})
	}
}

// TestUpdateHaltsAtABrokenPod has a pod of the old version that is not ready: in
// order, nothing is updated before it is; with parallel management it goes first.
func TestUpdateHaltsAtABrokenPod(t *testing.T) {
	for policy, want := range map[appsv1.PodManagementPolicyType]string{
		appsv1.OrderedReadyPodManagement: "",
		appsv1.ParallelPodManagement:     "db-1",
	} {
		t.Run(string(policy), func(t *testing.T) {
			set := db(3)
			set.Spec.PodManagementPolicy = policy
			c := byHand(t, set)
			for i := range 3 {
				name := fmt.Sprint("db-", i)
				controllertest.Await(c, name, func(all []*corev1.Pod) bool { return len(all) > i })
				pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
				controllertest.Change(c, pod, "", func(p *corev1.Pod) { p.Finalizers = []string{"example.com/slow"} })
				run(t, c, name, true)
			}
			observed(t, c, 3, 3)
			run(t, c, "db-1", false)
			observed(t, c, 3, 2)
			controllertest.Change(c, set, "", func(s *appsv1.StatefulSet) { s.Spec.Template.Spec.Containers[0].Image = "db:2" })
			controllertest.Await(c, "a new revision", func(all []*appsv1.StatefulSet) bool {
				s := all[0].Status
				return s.ObservedGeneration == all[0].Generation && s.UpdateRevision != s.CurrentRevision
			})
			controllertest.Await(c, "what is deleted", func(all []*corev1.Pod) bool {
				var going []*corev1.Pod
				for _, pod := range all {
					if pod.DeletionTimestamp != nil {
						going = append(going, pod)
					}
				}
				return len(all) == 3 && names(going) == want
			})
		})
	}
}

func TestAnEndedPodIsMadeAgain(t *testing.T) {
	for _, phase := range []corev1.PodPhase{corev1.PodFailed, corev1.PodSucceeded} {
		t.Run(string(phase), func(t *testing.T) {
			c := start(t)
			c.Apply(db(2))
			controllertest.Await(c, "completion", complete(2))
			pods := podsAre(t, c, "db-0 db-1")
			if err := c.Finish(t.Context(), pods[1], phase); err != nil {
				t.Fatal(err)
			}
			controllertest.Await(c, "a new pod of that name, with the old claim", func(all []*corev1.Pod) bool {
				return names(all) == "db-0 db-1" && all[1].UID != pods[1].UID && all[1].Status.Phase == corev1.PodRunning
			})
			controllertest.Await(c, "no more claims", func(all []*corev1.PersistentVolumeClaim) bool { return names(all) == "data-db-0 data-db-1" })
		})
	}
}

func TestOnDelete(t *testing.T) {
	c := start(t)
	set := db(2)
	set.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType}
	c.Apply(set)
	controllertest.Await(c, "completion", complete(2))
	controllertest.Change(c, set, "", func(s *appsv1.StatefulSet) { s.Spec.Template.Spec.Containers[0].Image = "db:2" })
	controllertest.Await(c, "no pod updated", func(all []*appsv1.StatefulSet) bool {
		s := all[0].Status
		return s.ObservedGeneration == all[0].Generation && s.UpdateRevision != s.CurrentRevision && s.UpdatedReplicas == 0 && s.ReadyReplicas == 2
	})
	pods := podsAre(t, c, "db-0 db-1")
	c.Remove(pods[0], "")
	controllertest.Await(c, "the deleted one made anew, as it should be now", func(all []*corev1.Pod) bool {
		return len(all) == 2 && all[0].UID != pods[0].UID && all[0].Spec.Containers[0].Image == "db:2" && all[1].UID == pods[1].UID
	})
}

// TestUpdateWaitsForEachPod updates a set whose new pods do not get ready.
func TestUpdateWaitsForEachPod(t *testing.T) {
	set := db(2)
	c := byHand(t, set)
	podsAre(t, c, "db-0")
	run(t, c, "db-0", true)
	podsAre(t, c, "db-0 db-1")
	run(t, c, "db-1", true)
	controllertest.Await(c, "completion", complete(2))
	controllertest.Change(c, set, "", func(s *appsv1.StatefulSet) { s.Spec.Template.Spec.Containers[0].Image = "db:2" })
	controllertest.Await(c, "the last made anew", func(all []*corev1.Pod) bool { return len(all) == 2 && all[1].Spec.Containers[0].Image == "db:2" })
	run(t, c, "db-1", false)
	observed(t, c, 2, 1)
	controllertest.Await(c, "the first left alone meanwhile", func(all []*corev1.Pod) bool {
		return names(all) == "db-0 db-1" && all[0].Spec.Containers[0].Image == "db:1"
	})
	run(t, c, "db-1", true)
	controllertest.Await(c, "then the first made anew", func(all []*corev1.Pod) bool { return len(all) == 2 && all[0].Spec.Containers[0].Image == "db:2" })
}

func TestMinReadySeconds(t *testing.T) {
	c := start(t)
	set := db(2)
	set.Spec.MinReadySeconds = 3600
	c.Apply(set)
	controllertest.Await(c, "the first ready, which is not available for an hour", func(all []*appsv1.StatefulSet) bool {
		s := all[0].Status
		return s.ReadyReplicas == 1 && s.AvailableReplicas == 0
	})
	podsAre(t, c, "db-0")
	controllertest.Change(c, set, "", func(s *appsv1.StatefulSet) { s.Spec.MinReadySeconds = 0 })
	controllertest.Await(c, "both available", func(all []*appsv1.StatefulSet) bool { return all[0].Status.AvailableReplicas == 2 })
}

// TestStatusWhileBeingDeleted deletes a set in the foreground, with nobody who deletes
// what belongs to it but the test.
func TestStatusWhileBeingDeleted(t *testing.T) {
	set := db(2)
	set.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
	c := byHand(t, set)
	all := podsAre(t, c, "db-0 db-1")
	run(t, c, "db-0", true)
	run(t, c, "db-1", true)
	controllertest.Await(c, "the set complete", complete(2))
	c.Remove(set, metav1.DeletePropagationForeground)
	for _, rev := range controllertest.Await(c, "a revision", func(all []*appsv1.ControllerRevision) bool { return len(all) == 1 }) {
		c.Remove(rev, "")
	}
	if err := c.End(t.Context(), all[0]); err != nil {
		t.Fatal(err)
	}
	observed(t, c, 1, 1)
	controllertest.Await(c, "the counts of the revision", func(all []*appsv1.StatefulSet) bool {
		return all[0].Status.CurrentReplicas == 1 && all[0].Status.UpdatedReplicas == 1
	})
	if err := c.End(t.Context(), all[1]); err != nil {
		t.Fatal(err)
	}
	observed(t, c, 0, 0)
	podsAre(t, c, "")
	controllertest.Await(c, "no revision", func(all []*appsv1.ControllerRevision) bool { return len(all) == 0 })
}
