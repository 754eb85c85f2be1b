// Package deployment rolls Deployments out: it makes a ReplicaSet for each
// version of the pod template and moves the pods from the old ones to the new
// one, never going beyond maxSurge and maxUnavailable.
//
//	deployment.go   what is watched; one reconcile from start to end
//	replicasets.go  which ReplicaSet is the new one; making it
//	revision.go     revision numbers and the other annotations
//	rolling.go      the RollingUpdate strategy
//	recreate.go     the Recreate strategy
//	scale.go        resizing in the middle of a rollout, proportionally
//	progress.go     the conditions Progressing, Available and ReplicaFailure
//	status.go       the status
package deployment

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/ownership"
	"navarch.dev/navarch/services/controller/podset"
	"navarch.dev/navarch/services/controller/runner"
)

// settleTimeout is the longest wait for the informer to show our own writes
// before looking again.
const settleTimeout = time.Second

type reconciler struct {
	client      *client.Client
	events      runner.EventRecorder
	deployments *client.Informer[*appsv1.Deployment]
	replicaSets *client.Informer[*appsv1.ReplicaSet]
	pods        *client.Informer[*corev1.Pod]
	relation    *ownership.Relation[*appsv1.ReplicaSet]
	// The Store refuses to scale a set on an old view of it, but not to create
	// another one whose size was reckoned from that view.
	barrier *runner.Barrier[*appsv1.ReplicaSet]
}

// New returns the controller of Deployments.
func New(deps runner.Deps) (*runner.Controller, error) {
	deployments, err := client.InformerFor[*appsv1.Deployment](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	replicaSets, err := client.InformerFor[*appsv1.ReplicaSet](deps.Informers, ownership.Indexers())
	if err != nil {
		return nil, err
	}
	pods, err := client.InformerFor[*corev1.Pod](deps.Informers, ownership.Indexers())
	if err != nil {
		return nil, err
	}
	relation, err := ownership.Relate[*appsv1.ReplicaSet](deps.Informers, deployments, func(d *appsv1.Deployment) (labels.Selector, error) {
		return metav1.LabelSelectorAsSelector(d.Spec.Selector)
	})
	if err != nil {
		return nil, err
	}
	r := &reconciler{
		client: deps.Client, events: deps.Events("deployment-controller"),
		deployments: deployments, replicaSets: replicaSets, pods: pods, relation: relation,
		barrier: runner.NewBarrier(replicaSets),
	}
	c := runner.New("deployment", r, deps, runner.Options{Trace: deployments.TraceContext})
	runner.Primary(c, deployments)
	runner.Watch(c, replicaSets, runner.Input[*appsv1.ReplicaSet]{Keys: relation.Keys})
	runner.Watch(c, pods, runner.Input[*corev1.Pod]{
		Keys: r.recreatedBy,
		// Recreate waits for the last old pod to end.
		Changed: func(old, pod *corev1.Pod) bool { return podset.IsFinished(old) != podset.IsFinished(pod) },
	})
	return c, nil
}

// recreatedBy returns the Deployment of a pod if its strategy is Recreate.
func (r *reconciler) recreatedBy(pod *corev1.Pod) []string {
	ref := metav1.GetControllerOfNoCopy(pod)
	if ref == nil || ref.Kind != r.replicaSets.Kind().Kind {
		return nil
	}
	rs, ok := r.replicaSets.Get(pod.Namespace, ref.Name)
	if !ok || rs.UID != ref.UID {
		return nil
	}
	ref = metav1.GetControllerOfNoCopy(rs)
	if ref == nil || ref.Kind != r.deployments.Kind().Kind {
		return nil
	}
	d, ok := r.deployments.Get(pod.Namespace, ref.Name)
	if !ok || d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
		return nil
	}
	return runner.Self(d)
}

// rollout is one reconcile's view of a Deployment. It holds copies that may be
// changed.
type rollout struct {
	*reconciler
	d *appsv1.Deployment
	// newRS has the Deployment's present template; nil if there is none yet.
	newRS *appsv1.ReplicaSet
	// oldRSs are all the others, oldest first.
	oldRSs []*appsv1.ReplicaSet
	now    time.Time
}

// Reconcile takes the next step of the Deployment's rollout.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	shared, ok := r.deployments.GetByKey(key)
	if !ok {
		return runner.Done(), nil
	}
	if !r.barrier.Passed(key) {
		return runner.RequeueAfter(settleTimeout), nil
	}
	d := shared.DeepCopy()
	if d.Spec.Replicas == nil {
		d.Spec.Replicas = ptr.To[int32](1)
	}
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return runner.Done(), runner.Terminal(fmt.Errorf("read the selector: %w", err))
	}
	if selector.Empty() {
		r.events.Event(d, corev1.EventTypeWarning, "SelectingAll", "This deployment is selecting all pods. A non-empty selector is required.")
		return runner.Done(), nil
	}
	candidates, err := r.relation.Candidates(d, selector)
	if err != nil {
		return runner.Done(), err
	}
	claimed, err := ownership.Claim(ctx, ownership.Claimer{Client: r.client, Owner: d, Selector: selector}, candidates)
	if err != nil {
		return runner.Done(), err
	}
	ro := &rollout{reconciler: r, d: d, now: time.Now()}
	ro.split(claimed)
	return ro.step(ctx)
}

// step does one thing: it scales one side, or only brings the status up to
// date. The change it makes comes back as an event and leads to the next.
func (ro *rollout) step(ctx context.Context) (runner.Outcome, error) {
	if ro.d.DeletionTimestamp != nil {
		return runner.Done(), ro.writeStatus(ctx, ro.status())
	}
	if err := ro.notePause(ctx); err != nil {
		return runner.Done(), err
	}
	if ro.d.Spec.Paused || ro.isScaling() {
		return runner.Done(), ro.resize(ctx)
	}
	var err error
	switch ro.d.Spec.Strategy.Type {
	case appsv1.RecreateDeploymentStrategyType:
		err = ro.recreate(ctx)
	default:
		err = ro.roll(ctx)
	}
	if err != nil {
		return runner.Done(), err
	}
	return ro.report(ctx)
}

// wrote notes that a ReplicaSet was written: the next step waits until it is
// seen.
func (ro *rollout) wrote(rs *appsv1.ReplicaSet) {
	ro.barrier.Wrote(cache.MetaObjectToName(ro.d).String(), rs)
}

// all returns every ReplicaSet, the new one last.
func (ro *rollout) all() []*appsv1.ReplicaSet {
	all := append([]*appsv1.ReplicaSet(nil), ro.oldRSs...)
	if ro.newRS != nil {
		all = append(all, ro.newRS)
	}
	return all
}
