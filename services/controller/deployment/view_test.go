package deployment_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/deployment"
	"navarch.dev/navarch/services/controller/runner"
)

// byHand is a deployment whose reconciles the test runs, on what it lets the
// controller see.
type byHand struct {
	*controllertest.Cluster
	t           *testing.T
	deployments *client.Informer[*appsv1.Deployment]
	replicaSets *client.Informer[*appsv1.ReplicaSet]
	controller  *runner.Controller
	d           *appsv1.Deployment
}

func newByHand(t *testing.T, d *appsv1.Deployment) *byHand {
	c := controllertest.New(t)
	h := &byHand{Cluster: c, t: t, controller: c.Controller(deployment.New(c.Deps)), d: d}
	var err error
	if h.deployments, err = client.InformerFor[*appsv1.Deployment](c.Deps.Informers, nil); err != nil {
		t.Fatal(err)
	}
	if h.replicaSets, err = client.InformerFor[*appsv1.ReplicaSet](c.Deps.Informers, nil); err != nil {
		t.Fatal(err)
	}
	c.Start()
	c.Apply(d)
	return h
}

// edit changes the deployment.
func (h *byHand) edit(change func(*appsv1.Deployment)) {
	h.t.Helper()
	controllertest.Change(h.Cluster, h.d, "", change)
}

// reconcile takes a step on the newest deployment, and whatever is seen of its
// sets.
func (h *byHand) reconcile() {
	h.t.Helper()
	controllertest.AwaitSeen(h.Cluster, h.deployments, h.d)
	if _, err := h.controller.Reconcile(h.t.Context(), "default/web"); err != nil {
		h.t.Fatal(err)
	}
	if err := h.Get(h.t.Context(), "default", "web", h.d); err != nil {
		h.t.Fatal(err)
	}
}

// sets returns the sizes of the deployment's sets by their image.
func (h *byHand) sets() map[string]int32 {
	h.t.Helper()
	l := &appsv1.ReplicaSetList{}
	if err := h.List(h.t.Context(), l, client.ListOptions{Namespace: "default"}); err != nil {
		h.t.Fatal(err)
	}
	sizes := make(map[string]int32)
	for i := range l.Items {
		sizes[image(&l.Items[i])] = *l.Items[i].Spec.Replicas
	}
	return sizes
}

// see waits until the controller has seen the sets as they are.
func (h *byHand) see() {
	h.t.Helper()
	l := &appsv1.ReplicaSetList{}
	if err := h.List(h.t.Context(), l, client.ListOptions{Namespace: "default"}); err != nil {
		h.t.Fatal(err)
	}
	for i := range l.Items {
		controllertest.AwaitSeen(h.Cluster, h.replicaSets, &l.Items[i])
	}
}

func TestResizedAndEditedBeforeTheSetIsSeenToGrow(t *testing.T) {
	h := newByHand(t, web(2))
	h.reconcile()
	h.see()
	release := h.HoldBack("replicasets")
	defer release()
	h.edit(func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](10) })
	h.reconcile()
	h.edit(func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "web:2" })
	h.reconcile()
	if diff := cmp.Diff(map[string]int32{"web:1": 10}, h.sets()); diff != "" {
		t.Errorf("a step was taken on an old view: %s", diff)
	}
	release()
	h.see()
	h.reconcile()
	if diff := cmp.Diff(map[string]int32{"web:1": 9, "web:2": 1}, h.sets()); diff != "" {
		t.Error(diff) // no pod is available: one of the old version may go at once
	}
}

func TestPausedRecreateGrowsNoSecondVersion(t *testing.T) {
	w := web(2)
	w.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	h := newByHand(t, w)
	h.reconcile()
	h.see()
	// The set has the pods that it asks for.
	sets := controllertest.Await(h.Cluster, "a set", func(all []*appsv1.ReplicaSet) bool { return len(all) == 1 })
	controllertest.Change(h.Cluster, sets[0], "status", func(rs *appsv1.ReplicaSet) { rs.Status.Replicas = 2 })
	h.see()

	h.edit(func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "web:2" })
	h.reconcile()
	h.see()
	if diff := cmp.Diff(map[string]int32{"web:1": 0}, h.sets()); diff != "" {
		t.Fatal(diff)
	}
	// Its pods are ending, and another version is asked for again.
	h.edit(func(d *appsv1.Deployment) {
		d.Spec.Paused = true
		d.Spec.Template.Spec.Containers[0].Image = "web:3"
	})
	other := sets[0].DeepCopy()
	other.ObjectMeta = metav1.ObjectMeta{Namespace: "default", Name: "web-other", Labels: sets[0].Labels, OwnerReferences: sets[0].OwnerReferences}
	other.Spec.Template.Spec.Containers[0].Image = "web:3"
	other.Spec.Replicas = ptr.To[int32](0)
	h.Apply(other)
	h.see()
	h.reconcile()
	if diff := cmp.Diff(map[string]int32{"web:1": 0, "web:3": 0}, h.sets()); diff != "" {
		t.Fatalf("two versions: %s", diff)
	}
	// The last pod ends.
	if err := h.Get(t.Context(), "default", sets[0].Name, sets[0]); err != nil {
		t.Fatal(err)
	}
	controllertest.Change(h.Cluster, sets[0], "status", func(rs *appsv1.ReplicaSet) {
		rs.Status.Replicas, rs.Status.ObservedGeneration = 0, rs.Generation
	})
	h.see()
	h.reconcile()
	if diff := cmp.Diff(map[string]int32{"web:1": 0, "web:3": 2}, h.sets()); diff != "" {
		t.Error(diff)
	}
}

func TestRecreateWaitsUntilTheOldSetKnows(t *testing.T) {
	w := web(2)
	w.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	h := newByHand(t, w)
	h.reconcile()
	h.see()
	h.edit(func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "web:2" })
	h.reconcile()
	h.see()
	h.reconcile()
	// The set is told to have no pods, but may still be making those it was
	// told to have before.
	if diff := cmp.Diff(map[string]int32{"web:1": 0}, h.sets()); diff != "" {
		t.Fatal(diff)
	}
	sets := controllertest.Await(h.Cluster, "a set", func(all []*appsv1.ReplicaSet) bool { return len(all) == 1 })
	controllertest.Change(h.Cluster, sets[0], "status", func(rs *appsv1.ReplicaSet) { rs.Status.ObservedGeneration = rs.Generation })
	h.see()
	h.reconcile()
	if diff := cmp.Diff(map[string]int32{"web:1": 0, "web:2": 2}, h.sets()); diff != "" {
		t.Error(diff)
	}
}
