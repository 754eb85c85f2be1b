package daemonset_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/services/controller/controllertest"
)

// TestWhichNodes changes the node "a" of three before the set is made: does it
// get a pod, or would one be wrong there?
func TestWhichNodes(t *testing.T) {
	taint := func(key string, effect corev1.TaintEffect) func(*corev1.Node) {
		return func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: key, Effect: effect}} }
	}
	tolerates := func(s *corev1.PodSpec) {
		s.Tolerations = []corev1.Toleration{{Key: "own", Operator: corev1.TolerationOpExists}}
	}
	onSSD := func(s *corev1.PodSpec) {
		s.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "disk", Operator: corev1.NodeSelectorOpIn, Values: []string{"ssd"}}}}},
		}}}
	}
	plain := func(*corev1.Node) {}
	bare := func(n *corev1.Node) { n.Labels = nil }
	for name, tt := range map[string]struct {
		node func(*corev1.Node)
		pod  func(*corev1.PodSpec)
		want int32
	}{
		"every node":                           {plain, nil, 3},
		"those that the node selector matches": {bare, func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"disk": "ssd"} }, 2},
		"those that the affinity matches":      {bare, onSSD, 2},
		"no node with a foreign taint":         {taint("own", corev1.TaintEffectNoSchedule), nil, 2},
		"unless the pods tolerate it":          {taint("own", corev1.TaintEffectNoSchedule), tolerates, 3},
		"nor one that ends pods":               {taint("own", corev1.TaintEffectNoExecute), nil, 2},
		"a taint that only asks is no matter":  {taint("own", corev1.TaintEffectPreferNoSchedule), nil, 3},
		"a cordoned node":                      {func(n *corev1.Node) { n.Spec.Unschedulable = true }, nil, 3},
		"a node that is not ready":             {taint(corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute), nil, 3},
		"a node that cannot be reached":        {taint(corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute), nil, 3},
		"a node short of memory":               {taint(corev1.TaintNodeMemoryPressure, corev1.TaintEffectNoSchedule), nil, 3},
		"a node short of disk":                 {taint(corev1.TaintNodeDiskPressure, corev1.TaintEffectNoSchedule), nil, 3},
		"a node short of process ids":          {taint(corev1.TaintNodePIDPressure, corev1.TaintEffectNoSchedule), nil, 3},
		"no node without a network":            {taint(corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule), nil, 2},
		"unless the pods need none":            {taint(corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule), func(s *corev1.PodSpec) { s.HostNetwork = true }, 3},
		"none that an unknown label excludes":  {plain, func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"gpu": "yes"} }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := startWith(t, tt.node)
			set := logs(0, 1)
			if tt.pod != nil {
				tt.pod(&set.Spec.Template.Spec)
			}
			c.Apply(set)
			controllertest.Await(c, "the nodes covered", complete(tt.want))
			controllertest.Await(c, "as many pods", func(all []*corev1.Pod) bool { return len(all) == int(tt.want) })
		})
	}
}

func TestTolerations(t *testing.T) {
	c := start(t)
	c.Apply(logs(0, 1))
	pod := controllertest.Await(c, "pods", func(all []*corev1.Pod) bool { return len(all) == 3 })[0]
	var got []string
	for _, t := range pod.Spec.Tolerations {
		got = append(got, string(t.Operator)+" "+t.Key+":"+string(t.Effect))
		if t.TolerationSeconds != nil {
			got = append(got, "for a time only")
		}
	}
	slices.Sort(got)
	want := []string{
		"Exists node.kubernetes.io/disk-pressure:NoSchedule", "Exists node.kubernetes.io/memory-pressure:NoSchedule",
		"Exists node.kubernetes.io/not-ready:NoExecute", "Exists node.kubernetes.io/not-ready:NoSchedule",
		"Exists node.kubernetes.io/pid-pressure:NoSchedule", "Exists node.kubernetes.io/unreachable:NoExecute",
		"Exists node.kubernetes.io/unreachable:NoSchedule", "Exists node.kubernetes.io/unschedulable:NoSchedule",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tolerations (-want +got):\n%s", diff)
	}
}

func TestOnDelete(t *testing.T) {
	c := start(t)
	set := logs(0, 1)
	set.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}
	c.Apply(set)
	controllertest.Await(c, "three nodes covered", complete(3))
	controllertest.Change(c, set, "", func(s *appsv1.DaemonSet) { s.Spec.Template.Spec.Containers[0].Image = "logs:2" })
	controllertest.Await(c, "no pod updated", func(all []*appsv1.DaemonSet) bool {
		s := all[0].Status
		return s.ObservedGeneration == all[0].Generation && s.UpdatedNumberScheduled == 0 && s.NumberAvailable == 3
	})
	pods := controllertest.Await(c, "three pods", func(all []*corev1.Pod) bool { return len(all) == 3 })
	c.Remove(pods[0], "")
	controllertest.Await(c, "one updated", func(all []*appsv1.DaemonSet) bool {
		return all[0].Status.UpdatedNumberScheduled == 1 && all[0].Status.NumberAvailable == 3
	})
}

func TestAFailedPodIsReplaced(t *testing.T) {
	c := start(t)
	c.Apply(logs(0, 1))
	controllertest.Await(c, "three nodes covered", complete(3))
	pods := controllertest.Await(c, "three pods", func(all []*corev1.Pod) bool { return len(all) == 3 })
	if err := c.Finish(t.Context(), pods[0], corev1.PodFailed); err != nil {
		t.Fatal(err)
	}
	controllertest.Await(c, "another pod for its node", func(all []*corev1.Pod) bool {
		gone := !slices.ContainsFunc(all, func(p *corev1.Pod) bool { return p.UID == pods[0].UID })
		return gone && len(all) == 3 && slices.ContainsFunc(all, func(p *corev1.Pod) bool {
			return target(p) == target(pods[0]) && p.Status.Phase == corev1.PodRunning
		})
	})
}

// A node that refuses a set's pods gets them more and more seldom, until the set is
// another one.
func TestPodsThatFailAgainWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t)
		set := logs(0, 1)
		c.Apply(set)
		failed := map[types.UID]bool{}
		replaced := func() bool {
			all := controllertest.Await(c, "pods", func(all []*corev1.Pod) bool { return len(all) > 0 })
			return slices.ContainsFunc(all, func(p *corev1.Pod) bool { return target(p) == "a" && !failed[p.UID] })
		}
		// fail has the pod of node a fail, and lets time pass.
		fail := func(after time.Duration) {
			synctest.Wait()
			all := controllertest.Await(c, "pods", func(all []*corev1.Pod) bool { return len(all) == 3 })
			i := slices.IndexFunc(all, func(p *corev1.Pod) bool { return target(p) == "a" })
			if !failed[all[i].UID] {
				failed[all[i].UID] = true
				if err := c.Finish(t.Context(), all[i], corev1.PodFailed); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(after)
			synctest.Wait()
		}
		for i, step := range []struct {
			after    time.Duration
			replaced bool
		}{{time.Millisecond, true}, {500 * time.Millisecond, false}, {time.Second, true}, {1500 * time.Millisecond, false}, {2 * time.Second, true}, {3 * time.Second, false}} {
			fail(step.after)
			if got := replaced(); got != step.replaced {
				t.Fatalf("step %d: replaced: %v", i, got)
			}
		}
		controllertest.Change(c, set, "", func(s *appsv1.DaemonSet) { s.Spec.Template.Spec.Containers[0].Image = "logs:2" })
		if synctest.Wait(); !replaced() {
			t.Error("a new template does not help at once")
		}
		c.AwaitEvent("Warning FailedDaemonPod")
	})
}

func TestMinReadySeconds(t *testing.T) {
	c := start(t)
	set := logs(0, 1)
	set.Spec.MinReadySeconds = 3600
	c.Apply(set)
	controllertest.Await(c, "ready pods, none of which is available", func(all []*appsv1.DaemonSet) bool {
		s := all[0].Status
		return s.NumberReady == 3 && s.NumberAvailable == 0 && s.NumberUnavailable == 3
	})
	controllertest.Change(c, set, "", func(s *appsv1.DaemonSet) { s.Spec.MinReadySeconds = 0 })
	controllertest.Await(c, "three nodes covered", complete(3))
}
