package deployment_test

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/deployment"
	"navarch.dev/navarch/services/controller/replicaset"
)

func start(t *testing.T) *controllertest.Cluster {
	c := controllertest.New(t)
	c.Start(
		c.Controller(deployment.New(c.Deps)),
		c.Controller(replicaset.New(c.Deps)),
		controllertest.Kubelet(c),
	)
	return c
}

func web(replicas int32) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", Annotations: map[string]string{"team": "blue"}},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: controllertest.Selector("web"), Template: controllertest.Template("web", "web:1"),
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{
				MaxSurge: ptr.To(intstr.FromInt32(1)), MaxUnavailable: ptr.To(intstr.FromInt32(1)),
			}},
			ProgressDeadlineSeconds: ptr.To[int32](600), RevisionHistoryLimit: ptr.To[int32](10),
		},
	}
}

// rolledOut is what kubectl rollout status waits for.
func rolledOut(revision string) func([]*appsv1.Deployment) bool {
	return func(all []*appsv1.Deployment) bool {
		if len(all) != 1 {
			return false
		}
		d := all[0]
		return d.Annotations[deployment.RevisionAnnotation] == revision && d.Status.ObservedGeneration >= d.Generation &&
			d.Status.UpdatedReplicas == *d.Spec.Replicas && d.Status.Replicas == d.Status.UpdatedReplicas &&
			d.Status.AvailableReplicas == d.Status.UpdatedReplicas && reason(d, appsv1.DeploymentProgressing) == "NewReplicaSetAvailable"
	}
}

func reason(d *appsv1.Deployment, t appsv1.DeploymentConditionType) string {
	for _, c := range d.Status.Conditions {
		if c.Type == t {
			return c.Reason
		}
	}
	return ""
}

func image(rs *appsv1.ReplicaSet) string { return rs.Spec.Template.Spec.Containers[0].Image }

func TestRolloutAndUndo(t *testing.T) {
	c := start(t)
	c.Apply(web(3))
	d := controllertest.Await(c, "revision 1", rolledOut("1"))[0]
	if got := reason(d, appsv1.DeploymentAvailable); got != "MinimumReplicasAvailable" {
		t.Errorf("Available because of %q", got)
	}

	controllertest.Change(c, d, "", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "web:2" })
	controllertest.Await(c, "revision 2", rolledOut("2"))
	controllertest.Change(c, d, "", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "web:1" })
	controllertest.Await(c, "revision 3, the first template again", rolledOut("3"))

	sets := controllertest.Await(c, "two sets", func(all []*appsv1.ReplicaSet) bool { return len(all) == 2 })
	for _, rs := range sets {
		if rs.Annotations["team"] != "blue" {
			t.Errorf("%s has no annotation of the deployment's", rs.Name)
		}
		hash := rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
		if rs.Name != "web-"+hash || rs.Spec.Selector.MatchLabels[appsv1.DefaultDeploymentUniqueLabelKey] != hash {
			t.Errorf("set %s, hash label %q, selector %v", rs.Name, hash, rs.Spec.Selector)
		}
		switch image(rs) {
		case "web:1":
			if rs.Annotations[deployment.RevisionAnnotation] != "3" || rs.Annotations[deployment.RevisionHistoryAnnotation] != "1" || *rs.Spec.Replicas != 3 {
				t.Errorf("the present set: %v, %d replicas", rs.Annotations, *rs.Spec.Replicas)
			}
		default:
			if rs.Annotations[deployment.RevisionAnnotation] != "2" || *rs.Spec.Replicas != 0 {
				t.Errorf("the old set: %v, %d replicas", rs.Annotations, *rs.Spec.Replicas)
			}
		}
	}
	if !slices.ContainsFunc(c.Events.All(), func(e string) bool {
		return strings.HasPrefix(e, "Normal ScalingReplicaSet web: Scaled up replica set web-") && strings.HasSuffix(e, "from 0 to 3")
	}) {
		t.Errorf("no event of the first scaling: %q", c.Events.All())
	}
}

func TestPauseAndResume(t *testing.T) {
	c := start(t)
	c.Apply(web(2))
	d := controllertest.Await(c, "revision 1", rolledOut("1"))[0]
	controllertest.Change(c, d, "", func(d *appsv1.Deployment) {
		d.Spec.Paused = true
		d.Spec.Template.Spec.Containers[0].Image = "web:2"
		d.Spec.Replicas = ptr.To[int32](4)
	})
	controllertest.Await(c, "a paused deployment of 4", func(all []*appsv1.Deployment) bool {
		return reason(all[0], appsv1.DeploymentProgressing) == "DeploymentPaused" && all[0].Status.AvailableReplicas == 4
	})
	sets := controllertest.Await(c, "one set", func(all []*appsv1.ReplicaSet) bool { return len(all) == 1 })
	if image(sets[0]) != "web:1" {
		t.Errorf("a paused deployment rolled out %s", image(sets[0]))
	}
	controllertest.Change(c, d, "", func(d *appsv1.Deployment) { d.Spec.Paused = false })
	controllertest.Await(c, "revision 2", rolledOut("2"))
}

func TestRecreateEndsOldPodsFirst(t *testing.T) {
	c := start(t)
	w := web(2)
	w.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	c.Apply(w)
	d := controllertest.Await(c, "revision 1", rolledOut("1"))[0]
	controllertest.Change(c, d, "", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "web:2" })
	controllertest.Await(c, "only one version at a time", func(all []*corev1.Pod) bool {
		versions := make(map[string]int)
		for _, pod := range all {
			versions[pod.Spec.Containers[0].Image]++
		}
		if len(versions) > 1 {
			t.Fatalf("two versions run: %v", versions)
		}
		return versions["web:2"] == 2
	})
	controllertest.Await(c, "revision 2", rolledOut("2"))
}

func TestHistoryIsLimited(t *testing.T) {
	c := start(t)
	w := web(1)
	w.Spec.RevisionHistoryLimit = ptr.To[int32](1)
	c.Apply(w)
	controllertest.Await(c, "revision 1", rolledOut("1"))
	for _, v := range []string{"2", "3"} {
		controllertest.Change(c, w, "", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "web:" + v })
		controllertest.Await(c, "revision "+v, rolledOut(v))
	}
	controllertest.Await(c, "the newest and one old set", func(all []*appsv1.ReplicaSet) bool {
		return len(all) == 2 && !slices.ContainsFunc(all, func(rs *appsv1.ReplicaSet) bool { return image(rs) == "web:1" })
	})
}

func TestNameCollision(t *testing.T) {
	c := start(t)
	c.Apply(web(1))
	first := controllertest.Await(c, "revision 1", rolledOut("1"))
	sets := controllertest.Await(c, "a set", func(all []*appsv1.ReplicaSet) bool { return len(all) == 1 })
	// Another deployment of the same name finds the name of its set taken.
	controllertest.Change(c, sets[0], "", func(rs *appsv1.ReplicaSet) {
		rs.OwnerReferences[0].UID = "somebody-else"
		rs.OwnerReferences[0].Name = "other"
	})
	second := controllertest.Await(c, "a collision, and a set of another name", func(all []*appsv1.Deployment) bool {
		return all[0].Status.CollisionCount != nil && rolledOut("1")(all)
	})
	if second[0].UID != first[0].UID {
		t.Fatal("not the same deployment")
	}
	controllertest.Await(c, "two sets", func(all []*appsv1.ReplicaSet) bool { return len(all) == 2 })
}
