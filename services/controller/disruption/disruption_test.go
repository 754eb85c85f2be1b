package disruption_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/disruption"
)

// owned is a pod of the workload, running and ready.
func owned(name string, owner kinds.Object, kind string, group string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": "web"}}}
	p.Spec = controllertest.Template("web", "web:1").Spec
	if owner != nil {
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: group, Kind: kind, Name: owner.GetName(), UID: owner.GetUID(), Controller: ptr.To(true)}}
	}
	return p
}

func budget(least, most *intstr.IntOrString) *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: controllertest.Selector("web"), MinAvailable: least, MaxUnavailable: most},
	}
}

func number(n int32) *intstr.IntOrString   { return ptr.To(intstr.FromInt32(n)) }
func percent(s string) *intstr.IntOrString { return ptr.To(intstr.FromString(s)) }

// summary is expected/desired/healthy/allowed.
func summary(b *policyv1.PodDisruptionBudget) string {
	c := meta.FindStatusCondition(b.Status.Conditions, policyv1.DisruptionAllowedCondition)
	if b.Status.ObservedGeneration != b.Generation && (c == nil || c.Reason != policyv1.SyncFailedReason) {
		return ""
	}
	return fmt.Sprintf("%d/%d/%d/%d %s", b.Status.ExpectedPods, b.Status.DesiredHealthy, b.Status.CurrentHealthy, b.Status.DisruptionsAllowed, c.Reason)
}

func await(t *testing.T, c *controllertest.Cluster, want string) *policyv1.PodDisruptionBudget {
	t.Helper()
	return controllertest.Await(c, "the budget "+want, func(all []*policyv1.PodDisruptionBudget) bool {
		return len(all) == 1 && summary(all[0]) == want
	})[0]
}

func TestBudget(t *testing.T) {
	// A Deployment of 5 has 4 pods, in two ReplicaSets; 3 of them are ready.
	setUp := func(c *controllertest.Cluster) {
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](5), Selector: controllertest.Selector("web"), Template: controllertest.Template("web", "web:1"),
		}}
		c.Apply(d)
		for i, n := range []int{3, 1} {
			rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{
				Namespace: "default", Name: fmt.Sprint("web-", i),
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: d.Name, UID: d.UID, Controller: ptr.To(true)}},
			}, Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To(int32(n)), Selector: d.Spec.Selector, Template: d.Spec.Template}}
			c.Apply(rs)
			for j := range n {
				p := owned(fmt.Sprint(rs.Name, "-", j), rs, "ReplicaSet", "apps/v1")
				c.Apply(p)
				if err := c.SetReady(t.Context(), p, i == 0); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for name, tt := range map[string]struct {
		budget *policyv1.PodDisruptionBudget
		want   string
	}{
		"a number that must be available":             {budget(number(2), nil), "4/2/3/1 SufficientPods"},
		"all of them":                                 {budget(number(3), nil), "4/3/3/0 InsufficientPods"},
		"a share that must be available":              {budget(percent("50%"), nil), "5/3/3/0 InsufficientPods"},
		"a smaller share":                             {budget(percent("40%"), nil), "5/2/3/1 SufficientPods"},
		"a number that may be unavailable":            {budget(nil, number(3)), "5/2/3/1 SufficientPods"},
		"a share that may be unavailable, rounded up": {budget(nil, percent("41%")), "5/2/3/1 SufficientPods"},
		"more than there are":                         {budget(nil, number(9)), "5/0/3/3 SufficientPods"},
		"nothing said":                                {budget(nil, nil), "0/0/3/0 InsufficientPods"},
	} {
		t.Run(name, func(t *testing.T) {
			c := controllertest.New(t)
			c.Start(c.Controller(disruption.New(c.Deps)))
			setUp(c)
			c.Apply(tt.budget)
			await(t, c, tt.want)
		})
	}
}

func TestBudgetFollowsScaleAndPods(t *testing.T) {
	c := controllertest.New(t)
	c.Start(c.Controller(disruption.New(c.Deps)))
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: appsv1.StatefulSetSpec{
		Replicas: ptr.To[int32](2), Selector: controllertest.Selector("web"), Template: controllertest.Template("web", "web:1"), ServiceName: "web",
	}}
	c.Apply(set, budget(nil, number(1)))
	await(t, c, "0/0/0/0 InsufficientPods")
	var pods []*corev1.Pod
	for i := range 2 {
		p := owned(fmt.Sprint("web-", i), set, "StatefulSet", "apps/v1")
		c.Apply(p)
		if err := c.SetReady(t.Context(), p, true); err != nil {
			t.Fatal(err)
		}
		pods = append(pods, p)
	}
	await(t, c, "2/1/2/1 SufficientPods")
	controllertest.Change(c, set, "", func(s *appsv1.StatefulSet) { s.Spec.Replicas = ptr.To[int32](3) })
	await(t, c, "3/2/2/0 InsufficientPods")
	controllertest.Change(c, set, "", func(s *appsv1.StatefulSet) { s.Spec.Replicas = ptr.To[int32](2) })
	await(t, c, "2/1/2/1 SufficientPods")
	evict := func(p *corev1.Pod) error {
		return c.CreateSubresource(t.Context(), p, "eviction", &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: p.Name}})
	}
	if err := evict(pods[0]); err != nil {
		t.Fatal(err)
	}
	if err := evict(pods[1]); !apierrors.IsTooManyRequests(err) {
		t.Errorf("the second eviction: %v", err)
	}
	controllertest.Await(c, "the eviction to have happened", func(all []*policyv1.PodDisruptionBudget) bool {
		return summary(all[0]) == "2/1/1/0 InsufficientPods" && len(all[0].Status.DisruptedPods) == 0
	})
}

func TestPodsWithoutScale(t *testing.T) {
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "u"}}
	for name, tt := range map[string]struct {
		pod     *corev1.Pod
		budget  *policyv1.PodDisruptionBudget
		want    string
		message string
	}{
		"a job's pod":            {owned("p", job, "Job", "batch/v1"), budget(nil, number(1)), "0/0/0/0 SyncFailed", "jobs.batch does not implement the scale subresource"},
		"a number needs none":    {owned("p", job, "Job", "batch/v1"), budget(number(0), nil), "1/0/1/1 SufficientPods", ""},
		"an unknown kind":        {owned("p", job, "Thing", "example.com/v1"), budget(nil, number(1)), "0/0/0/0 SyncFailed", `no matches for kind "Thing" in version "example.com/v1"`},
		"a controller that left": {owned("p", job, "ReplicaSet", "apps/v1"), budget(percent("50%"), nil), "0/0/0/0 SyncFailed", `found no controllers for pod "p"`},
		"a pod of nobody":        {owned("p", nil, "", ""), budget(nil, number(1)), "0/0/1/0 InsufficientPods", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := controllertest.New(t)
			c.Start(c.Controller(disruption.New(c.Deps)))
			c.Apply(tt.pod)
			if err := c.SetReady(t.Context(), tt.pod, true); err != nil {
				t.Fatal(err)
			}
			c.Apply(tt.budget)
			b := await(t, c, tt.want)
			if got := meta.FindStatusCondition(b.Status.Conditions, policyv1.DisruptionAllowedCondition).Message; got != tt.message {
				t.Errorf("message %q, want %q", got, tt.message)
			}
		})
	}
}

func TestDisruptionThatDoesNotHappen(t *testing.T) {
	c := controllertest.New(t)
	c.Start(c.Controller(disruption.NewStale(c.Deps)))
	for name, ago := range map[string]time.Duration{"marked-long-ago": time.Hour, "marked-now": 0} {
		p := owned(name, nil, "", "")
		c.Apply(p)
		controllertest.Change(c, p, "status", func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodRunning
			p.Status.Conditions = []corev1.PodCondition{{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI", LastTransitionTime: metav1.NewTime(time.Now().Add(-ago)),
			}}
		})
	}
	controllertest.Await(c, "the old mark gone, and only that", func(all []*corev1.Pod) bool {
		if len(all) != 2 || len(all[0].Status.Conditions) != 1 || len(all[1].Status.Conditions) != 1 {
			return false
		}
		return all[0].Status.Conditions[0].Status == corev1.ConditionFalse && all[1].Status.Conditions[0].Status == corev1.ConditionTrue
	})
}

// TestBudgetFollowsItsWorkloads has a ReplicaSet's pod covered by one of two
// budgets. A Deployment adopts the set and is scaled: that budget is looked at
// again, the other is not.
func TestBudgetFollowsItsWorkloads(t *testing.T) { synctest.Test(t, followsItsWorkloads) }

func followsItsWorkloads(t *testing.T) {
	c := controllertest.New(t)
	c.Start(c.Controller(disruption.New(c.Deps)))
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: appsv1.ReplicaSetSpec{
		Replicas: ptr.To[int32](1), Selector: controllertest.Selector("web"), Template: controllertest.Template("web", "web:1"),
	}}
	c.Apply(rs)
	p := owned("web-0", rs, "ReplicaSet", "apps/v1")
	c.Apply(p)
	if err := c.SetReady(t.Context(), p, true); err != nil {
		t.Fatal(err)
	}
	other := budget(number(1), nil)
	other.Name, other.Spec.Selector = "other", controllertest.Selector("db")
	c.Apply(other, budget(percent("50%"), nil))
	awaitWeb := func(want string) {
		t.Helper()
		controllertest.Await(c, "the budget "+want, func(all []*policyv1.PodDisruptionBudget) bool {
			return len(all) == 2 && summary(all[0]) == "0/1/0/0 InsufficientPods" && summary(all[1]) == want
		})
	}
	awaitWeb("1/1/1/0 InsufficientPods")
	synctest.Wait() // what these changes lead to is done
	reconciles, cancel := c.Deps.Feed.Subscribe()
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: appsv1.DeploymentSpec{
		Replicas: ptr.To[int32](4), Selector: controllertest.Selector("web"), Template: controllertest.Template("web", "web:1"),
	}}
	c.Apply(d)
	controllertest.Change(c, rs, "", func(rs *appsv1.ReplicaSet) {
		rs.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: d.Name, UID: d.UID, Controller: ptr.To(true)}}
	})
	awaitWeb("4/2/1/0 InsufficientPods")
	controllertest.Change(c, d, "", func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](2) })
	awaitWeb("2/1/1/0 InsufficientPods")
	cancel()
	for r := range reconciles {
		if r.Key != "default/web" {
			t.Errorf("the budget %s was looked at", r.Key)
		}
	}
}
