package daemonset_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/daemonset"
)

func start(t *testing.T) *controllertest.Cluster { return startWith(t, func(*corev1.Node) {}) }

// startWith runs the controller over three nodes, of which the first is
// special.
func startWith(t *testing.T, change func(*corev1.Node)) *controllertest.Cluster {
	c := controllertest.New(t)
	for _, name := range []string{"a", "b", "c"} {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"disk": "ssd"}}}
		if name == "a" {
			change(node)
		}
		c.Apply(node)
	}
	c.Start(c.Controller(daemonset.New(c.Deps)), controllertest.Kubelet(c))
	return c
}

func logs(surge, unavailable int32) *appsv1.DaemonSet {
	return &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "logs"},
		Spec: appsv1.DaemonSetSpec{
			Selector: controllertest.Selector("logs"), Template: controllertest.Template("logs", "logs:1"),
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType, RollingUpdate: &appsv1.RollingUpdateDaemonSet{
				MaxSurge: ptr.To(intstr.FromInt32(surge)), MaxUnavailable: ptr.To(intstr.FromInt32(unavailable)),
			}},
		},
	}
}

func complete(n int32) func([]*appsv1.DaemonSet) bool {
	return func(all []*appsv1.DaemonSet) bool {
		s := all[0].Status
		return s.ObservedGeneration == all[0].Generation && s.DesiredNumberScheduled == n && s.CurrentNumberScheduled == n &&
			s.NumberAvailable == n && s.UpdatedNumberScheduled == n && s.NumberMisscheduled == 0
	}
}

// target is the node that a pod's affinity names.
func target(pod *corev1.Pod) string {
	return pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchFields[0].Values[0]
}

func TestOnePodPerEligibleNode(t *testing.T) {
	c := start(t)
	set := logs(0, 1)
	set.Spec.Template.Spec.NodeSelector = map[string]string{"disk": "ssd"}
	c.Apply(set)
	controllertest.Await(c, "three nodes covered", complete(3))
	pods := controllertest.Await(c, "three pods", func(all []*corev1.Pod) bool { return len(all) == 3 })
	seen := make(map[string]bool)
	for _, pod := range pods {
		seen[target(pod)] = true
	}
	if len(seen) != 3 {
		t.Errorf("pods for the nodes %v", seen)
	}
	c.Apply(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "d", Labels: map[string]string{"disk": "ssd"}}})
	controllertest.Await(c, "the new node covered", complete(4))
	controllertest.Change(c, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, "", func(n *corev1.Node) { n.Labels = nil })
	controllertest.Await(c, "the node that no longer matches left", complete(3))
	controllertest.Change(c, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "b"}}, "", func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{{Key: "maintenance", Effect: corev1.TaintEffectNoExecute}}
	})
	controllertest.Await(c, "the tainted node left", complete(2))
}

func TestRollingUpdate(t *testing.T) {
	for _, tt := range []struct {
		name               string
		surge, unavailable int32
	}{{"unavailable", 0, 1}, {"surge", 1, 0}} {
		t.Run(tt.name, func(t *testing.T) {
			c := start(t)
			set := logs(tt.surge, tt.unavailable)
			c.Apply(set)
			controllertest.Await(c, "three nodes covered", complete(3))
			controllertest.Change(c, set, "", func(s *appsv1.DaemonSet) { s.Spec.Template.Spec.Containers[0].Image = "logs:2" })
			controllertest.Await(c, "three new pods", func(all []*corev1.Pod) bool {
				active, updated := 0, 0
				for _, pod := range all {
					if pod.DeletionTimestamp == nil {
						active++
						if pod.Spec.Containers[0].Image == "logs:2" {
							updated++
						}
					}
				}
				if most := 3 + int(tt.surge); active > most {
					t.Fatalf("%d pods, allowed are %d", active, most)
				}
				if least := 3 - int(tt.unavailable); active < least {
					t.Fatalf("%d pods, needed are %d", active, least)
				}
				return updated == 3 && active == 3
			})
			controllertest.Await(c, "completion", complete(3))
		})
	}
}

// A revision that was made when there were fewer defaults is the present template's
// still: an upgrade rolls nothing out.
func TestRevisionWithoutTodaysDefaults(t *testing.T) {
	c := controllertest.New(t)
	set := logs(0, 1)
	plain, err := json.Marshal(set.Spec.Template)
	if err != nil {
		t.Fatal(err)
	}
	c.Apply(set, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a"}})
	c.Apply(&appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "logs-old", Labels: map[string]string{"app": "logs", appsv1.ControllerRevisionHashLabelKey: "old"},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("DaemonSet"))},
		},
		Revision: 1, Data: runtime.RawExtension{Raw: fmt.Appendf(nil, `{"spec":{"template":{"$patch":"replace",%s}}`, plain[1:])},
	})
	c.Start(c.Controller(daemonset.New(c.Deps)), controllertest.Kubelet(c))
	controllertest.Await(c, "the node covered", complete(1))
	controllertest.Await(c, "a pod of the revision", func(all []*corev1.Pod) bool {
		return len(all) == 1 && all[0].Labels[appsv1.ControllerRevisionHashLabelKey] == "old"
	})
	controllertest.Await(c, "no other revision", func(all []*appsv1.ControllerRevision) bool { return len(all) == 1 })
	controllertest.Change(c, logs(0, 1), "", func(set *appsv1.DaemonSet) { set.Spec.Template.Spec.Containers[0].Image = "logs:2" })
	controllertest.Await(c, "another revision", func(all []*appsv1.ControllerRevision) bool { return len(all) == 2 })
}

// Of two revisions of the present template, of which somebody else has made
// one, the newer is the present one: neither is renumbered.
func TestTwinOfTheRevision(t *testing.T) {
	c := start(t)
	c.Apply(logs(0, 1))
	controllertest.Await(c, "three nodes covered", complete(3))
	twin := controllertest.Await(c, "its revision", func(all []*appsv1.ControllerRevision) bool { return len(all) == 1 })[0].DeepCopy()
	first := twin.DeepCopy()
	twin.ObjectMeta = metav1.ObjectMeta{
		Namespace: first.Namespace, Name: "twin", OwnerReferences: first.OwnerReferences,
		Labels: map[string]string{"app": "logs", appsv1.ControllerRevisionHashLabelKey: "twin"},
	}
	twin.Revision = 2
	c.Apply(twin)
	controllertest.Await(c, "pods of the twin", func(all []*corev1.Pod) bool {
		return len(all) == 3 && !slices.ContainsFunc(all, func(p *corev1.Pod) bool { return p.Labels[appsv1.ControllerRevisionHashLabelKey] != "twin" })
	})
	controllertest.Change(c, logs(0, 1), "", func(set *appsv1.DaemonSet) { set.Spec.Template.Spec.Containers[0].Image = "logs:2" })
	all := controllertest.Await(c, "a third revision", func(all []*appsv1.ControllerRevision) bool { return len(all) == 3 })
	var numbers []int64
	for _, r := range all {
		numbers = append(numbers, r.Revision)
	}
	slices.Sort(numbers)
	if !slices.Equal(numbers, []int64{1, 2, 3}) {
		t.Errorf("revisions %v, want 1 to 3", numbers)
	}
}
