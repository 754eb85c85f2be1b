package deployment_test

import (
	"context"
	"math/rand/v2"
	"strconv"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/deployment"
	"navarch.dev/navarch/services/controller/replicaset"
	"navarch.dev/navarch/services/controller/runner"
)

// world is a deployment whose every step the test takes itself: edits, single
// reconciles of either controller, and what kubelets do to pods. The informers
// run by themselves, so a reconcile may see the world late, as in production.
type world struct {
	*controllertest.Cluster
	t           *testing.T
	rng         *rand.Rand
	deployments *runner.Controller
	replicaSets *runner.Controller
	// seen and seenSets are what the controllers see.
	seen     *client.Informer[*appsv1.Deployment]
	seenSets *client.Informer[*appsv1.ReplicaSet]
}

func newWorld(t *testing.T, seed uint64) *world {
	c := controllertest.New(t)
	w := &world{
		Cluster: c, t: t, rng: rand.New(rand.NewPCG(seed, 1)),
		deployments: c.Controller(deployment.New(c.Deps)),
		replicaSets: c.Controller(replicaset.New(c.Deps)),
	}
	var err error
	if w.seen, err = client.InformerFor[*appsv1.Deployment](c.Deps.Informers, nil); err != nil {
		t.Fatal(err)
	}
	if w.seenSets, err = client.InformerFor[*appsv1.ReplicaSet](c.Deps.Informers, nil); err != nil {
		t.Fatal(err)
	}
	c.Start() // informers only
	return w
}

func (w *world) deployment() *appsv1.Deployment {
	d := &appsv1.Deployment{}
	if err := w.Get(w.t.Context(), "default", "web", d); err != nil {
		w.t.Fatal(err)
	}
	return d
}

func list[L any, P interface {
	*L
	kinds.List
}](w *world) P {
	l := P(new(L))
	if err := w.List(w.t.Context(), l, client.ListOptions{Namespace: "default"}); err != nil {
		w.t.Fatal(err)
	}
	return l
}

// totals are what the invariants are about: how many pods the sets ask for,
// and how many available pods they will keep, as far as their statuses tell.
func (w *world) totals() (asked, kept int32) {
	for _, rs := range list[appsv1.ReplicaSetList](w).Items {
		asked += *rs.Spec.Replicas
		kept += min(*rs.Spec.Replicas, rs.Status.AvailableReplicas)
	}
	return asked, kept
}

// reconcileDeployment takes one step and checks that it went beyond neither
// limit. A step may start beyond one, after an edit; then it must not lead
// further away.
func (w *world) reconcileDeployment() {
	askedBefore, keptBefore := w.totals()
	d := w.deployment()
	w.tolerate(w.deployments.Reconcile(w.t.Context(), "default/web"))
	asked, kept := w.totals()
	replicas := int(*d.Spec.Replicas)
	surge, _ := intstr.GetScaledValueFromIntOrPercent(d.Spec.Strategy.RollingUpdate.MaxSurge, replicas, true)
	unavailable, _ := intstr.GetScaledValueFromIntOrPercent(d.Spec.Strategy.RollingUpdate.MaxUnavailable, replicas, false)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	if most := int32(replicas + surge); asked > max(most, askedBefore) {
		w.t.Fatalf("the sets ask for %d pods (before: %d), allowed are %d", asked, askedBefore, most)
	}
	if least := int32(replicas - unavailable); kept < min(least, keptBefore) {
		w.t.Fatalf("%d available pods are kept (before: %d), needed are %d", kept, keptBefore, least)
	}
}

// reconcileSets takes a step for each set. That one has fewer available pods than
// before is seen before the next step: another set would be scaled down for them.
func (w *world) reconcileSets() {
	before := make(map[string]int32)
	for _, rs := range list[appsv1.ReplicaSetList](w).Items {
		before[rs.Name] = rs.Status.AvailableReplicas
		w.tolerate(w.replicaSets.Reconcile(w.t.Context(), "default/"+rs.Name))
	}
	for _, rs := range list[appsv1.ReplicaSetList](w).Items {
		if rs.Status.AvailableReplicas < before[rs.Name] {
			controllertest.AwaitSeen(w.Cluster, w.seenSets, &rs)
		}
	}
}

// tolerate accepts what a late view leads to: the Store refuses stale writes.
func (w *world) tolerate(_ runner.Outcome, err error) {
	w.t.Helper()
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		w.t.Fatal(err)
	}
}

// edit changes what is wanted. The limits that a step keeps are those that it has
// seen, so the edit is seen before the next.
func (w *world) edit() {
	edited := w.deployment()
	defer func() { controllertest.AwaitSeen(w.Cluster, w.seen, edited) }()
	controllertest.Change(w.Cluster, edited, "", func(d *appsv1.Deployment) {
		switch w.rng.IntN(4) {
		case 0:
			d.Spec.Replicas = ptr.To(w.rng.Int32N(12))
		case 1, 2:
			d.Spec.Template.Spec.Containers[0].Image = "web:" + strconv.Itoa(w.rng.IntN(4))
		case 3:
			limits := []intstr.IntOrString{intstr.FromInt32(1), intstr.FromInt32(3), intstr.FromString("25%"), intstr.FromString("60%")}
			d.Spec.Strategy.RollingUpdate.MaxSurge = ptr.To(limits[w.rng.IntN(len(limits))])
			d.Spec.Strategy.RollingUpdate.MaxUnavailable = ptr.To(limits[w.rng.IntN(len(limits))])
		}
	})
}

// kubelet makes one pod ready or unready, or ends it.
func (w *world) kubelet(ctx context.Context, ready int) {
	pods := list[corev1.PodList](w).Items
	if len(pods) == 0 {
		return
	}
	pod := &pods[w.rng.IntN(len(pods))]
	var err error
	switch {
	case pod.DeletionTimestamp != nil:
		err = w.End(ctx, pod)
	default:
		err = w.SetReady(ctx, pod, w.rng.IntN(10) < ready)
	}
	if err != nil && !apierrors.IsConflict(err) {
		w.t.Fatal(err)
	}
}

func (w *world) step() {
	switch n := w.rng.IntN(100); {
	case n < 4:
		w.edit()
	case n < 40:
		w.reconcileDeployment()
	case n < 65:
		w.reconcileSets()
	default:
		w.kubelet(w.t.Context(), 8)
	}
}

// converge takes steps without edits, all pods becoming ready, until the
// rollout is complete.
func (w *world) converge() {
	for range 3000 {
		d := w.deployment()
		want := *d.Spec.Replicas
		s := d.Status
		if s.ObservedGeneration == d.Generation && s.UpdatedReplicas == want && s.Replicas == want && s.AvailableReplicas == want {
			return
		}
		w.reconcileDeployment()
		w.reconcileSets()
		for range 4 {
			w.kubelet(w.t.Context(), 10)
		}
	}
	w.t.Fatalf("the rollout does not end: %+v", w.deployment().Status)
}

func TestLimitsHoldInEveryStep(t *testing.T) {
	for seed := range uint64(8) {
		t.Run("seed "+strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, seed)
			w.Apply(web(5))
			for range 300 {
				w.step()
			}
			w.converge()
		})
	}
}
