package deployment_test

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/deployment"
	"navarch.dev/navarch/services/controller/replicaset"
)

// withoutKubelet runs the controllers where no pod ever runs.
func withoutKubelet(t *testing.T) *controllertest.Cluster {
	c := controllertest.New(t)
	c.Start(c.Controller(deployment.New(c.Deps)), c.Controller(replicaset.New(c.Deps)))
	return c
}

func TestOnlyTheTemplateCausesARollout(t *testing.T) {
	for name, change := range map[string]func(*appsv1.Deployment){
		"another size":       func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](4) },
		"another label":      func(d *appsv1.Deployment) { d.Labels = map[string]string{"team": "red"} },
		"another annotation": func(d *appsv1.Deployment) { d.Annotations["team"] = "red" },
		"another limit":      func(d *appsv1.Deployment) { d.Spec.Strategy.RollingUpdate.MaxSurge = nil },
		"another strategy": func(d *appsv1.Deployment) {
			d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
		},
		"another history":    func(d *appsv1.Deployment) { d.Spec.RevisionHistoryLimit = ptr.To[int32](0) },
		"a shorter deadline": func(d *appsv1.Deployment) { d.Spec.ProgressDeadlineSeconds = ptr.To[int32](30) },
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t)
			c.Apply(web(2))
			d := controllertest.Await(c, "revision 1", rolledOut("1"))[0]
			if d.Generation != 1 {
				t.Errorf("the controller's own annotation counts: generation %d", d.Generation)
			}
			controllertest.Change(c, d, "", change)
			want := *d.Spec.Replicas
			controllertest.Await(c, "the change seen", func(all []*appsv1.Deployment) bool {
				return all[0].Status.ObservedGeneration == d.Generation && all[0].Status.AvailableReplicas == want && rolledOut("1")(all)
			})
			controllertest.Await(c, "the one set", func(all []*appsv1.ReplicaSet) bool { return len(all) == 1 && *all[0].Spec.Replicas == want })
		})
	}
}

func TestProgressDeadline(t *testing.T) {
	c := withoutKubelet(t)
	w := web(2)
	w.Spec.ProgressDeadlineSeconds = ptr.To[int32](1)
	c.Apply(w)
	d := controllertest.Await(c, "the deadline", func(all []*appsv1.Deployment) bool {
		return reason(all[0], appsv1.DeploymentProgressing) == "ProgressDeadlineExceeded"
	})[0]
	for _, cond := range d.Status.Conditions {
		if want := corev1.ConditionFalse; cond.Status != want {
			t.Errorf("%s is %s, want %s", cond.Type, cond.Status, want)
		}
	}
	// Nothing is rolled back, and nothing given up: it goes on when it can.
	controllertest.Await(c, "both pods", func(all []*corev1.Pod) bool { return len(all) == 2 })
	for _, pod := range list[corev1.PodList](&world{Cluster: c, t: t}).Items {
		if err := c.SetReady(t.Context(), &pod, true); err != nil {
			t.Fatal(err)
		}
	}
	controllertest.Await(c, "revision 1", rolledOut("1"))
}

func TestMinReadySeconds(t *testing.T) {
	c := start(t)
	w := web(2)
	w.Spec.MinReadySeconds = 500
	c.Apply(w)
	d := controllertest.Await(c, "two ready pods", func(all []*appsv1.Deployment) bool { return all[0].Status.ReadyReplicas == 2 })[0]
	if s := d.Status; s.AvailableReplicas != 0 || s.UnavailableReplicas != 2 || reason(d, appsv1.DeploymentProgressing) == "NewReplicaSetAvailable" {
		t.Errorf("ready for a moment, and: %+v", s)
	}
	controllertest.Change(c, w, "", func(d *appsv1.Deployment) { d.Spec.MinReadySeconds = 0 })
	controllertest.Await(c, "revision 1", rolledOut("1"))
}

// TestRolloverOfARollout changes the template again while the first change is
// under way: the version in between goes, and is not rolled out first.
func TestRolloverOfARollout(t *testing.T) {
	c := withoutKubelet(t)
	w := web(2)
	c.Apply(w)
	controllertest.Await(c, "two pods", func(all []*corev1.Pod) bool { return len(all) == 2 })
	for _, pod := range list[corev1.PodList](&world{Cluster: c, t: t}).Items {
		if err := c.SetReady(t.Context(), &pod, true); err != nil {
			t.Fatal(err)
		}
	}
	controllertest.Await(c, "revision 1", rolledOut("1"))
	size := func(image string) func([]*appsv1.ReplicaSet) int32 {
		return func(all []*appsv1.ReplicaSet) int32 {
			for _, rs := range all {
				if rs.Spec.Template.Spec.Containers[0].Image == image {
					return *rs.Spec.Replicas
				}
			}
			return -1
		}
	}
	controllertest.Change(c, w, "", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "web:2" })
	controllertest.Await(c, "a second version that does not get ready", func(all []*appsv1.ReplicaSet) bool { return size("web:2")(all) > 0 })
	controllertest.Change(c, w, "", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "web:3" })
	controllertest.Await(c, "the third version instead of the second", func(all []*appsv1.ReplicaSet) bool {
		return len(all) == 3 && size("web:2")(all) == 0 && size("web:3")(all) > 0 && size("web:1")(all) >= 1
	})
}

// TestFailureToCreateShows has pods that the namespace does not admit.
func TestFailureToCreateShows(t *testing.T) {
	c := withoutKubelet(t)
	c.Apply(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "strict", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}})
	w := web(1)
	w.Namespace = "strict"
	c.Apply(w)
	d := controllertest.Await(c, "the failure", func(all []*appsv1.Deployment) bool {
		return reason(all[0], appsv1.DeploymentReplicaFailure) == "FailedCreate"
	})[0]
	for _, cond := range d.Status.Conditions {
		if cond.Type == appsv1.DeploymentReplicaFailure && !strings.Contains(cond.Message, `violates PodSecurity "restricted:latest"`) {
			t.Errorf("message %q", cond.Message)
		}
	}
}
