// Package horizontalpodautoscaler scales workloads by what their pods use.
//
//	horizontalpodautoscaler.go  what is watched; one reconcile from start to end
//	scale.go                    the target's scale subresource
//	metrics.go                  from an autoscaler's metrics to a number of pods
//	usage.go                    what pods use and request
//	custom.go                   metrics of pods, objects and things outside
//	registered.go               what registered API servers tell of them
//	exposed.go                  what pods expose of them
//	calculation.go              the arithmetic of one metric
//	behavior.go                 how fast that number may change
//	zero.go                     to no pods at all, and back
//	memory.go                   what was recommended and done lately
//	rates.go                    how fast counters grow
//	status.go                   conditions and the status
package horizontalpodautoscaler

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	registrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/extension"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/usage"
	"navarch.dev/navarch/services/controller/backends"
	"navarch.dev/navarch/services/controller/horizontalpodautoscaler/exposition"
	"navarch.dev/navarch/services/controller/horizontalpodautoscaler/metricsapi"
	"navarch.dev/navarch/services/controller/runner"
	"navarch.dev/navarch/services/controller/selection"
)

// period is how often an autoscaler looks at its metrics. What pods use
// changes without anybody saying so.
const period = 15 * time.Second

type reconciler struct {
	client   *client.Client
	kinds    *kinds.Registry
	events   runner.EventRecorder
	hpas     *client.Informer[*autoscalingv2.HorizontalPodAutoscaler]
	pods     *client.Informer[*corev1.Pod]
	backends *backends.Backends
	// selected are the pods of the targets, by their autoscalers.
	selected *selection.Index[*corev1.Pod]
	sources  Sources
	memory   *memory
}

// Sources is where metrics come from.
type Sources struct {
	Figures Figures
	Pages   Pages
	// APIs are the servers of custom and external metrics, which are asked if they
	// are registered; it may be nil.
	APIs *metricsapi.APIs
}

// From returns the sources that API servers are, which connector connects to,
// and where none is registered the agents of the nodes: used tells what pods
// use, and agents connects to those who read what pods expose.
func From(connector extension.Connector, used *usage.Source, agents usage.Dialer) func(Inputs) Sources {
	return func(in Inputs) Sources {
		apis := metricsapi.New(in.APIs, in.Kinds, connector)
		return Sources{
			Figures: &figures{apis, &figuresOfAgents{used, in.Nodes}}, Pages: exposition.NewAgents(agents, in.Nodes), APIs: apis,
		}
	}
}

// Inputs are what sources may follow.
type Inputs struct {
	Nodes *client.Informer[*corev1.Node]
	APIs  *client.Informer[*registrationv1.APIService]
	// Kinds are those that are served, custom ones too.
	Kinds *kinds.Registry
}

// New returns the controller of HorizontalPodAutoscalers.
func New(deps runner.Deps, sources func(Inputs) Sources) (*runner.Controller, error) {
	hpas, err := client.InformerFor[*autoscalingv2.HorizontalPodAutoscaler](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	behind, err := backends.New(deps.Informers)
	if err != nil {
		return nil, err
	}
	nodes, err := client.InformerFor[*corev1.Node](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	apis, err := client.InformerFor[*registrationv1.APIService](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	r := &reconciler{
		client: deps.Client, kinds: deps.Kinds, events: deps.Events("horizontal-pod-autoscaler"), hpas: hpas, pods: behind.Pods, backends: behind,
		selected: selection.New(behind.Pods, nil),
		sources:  sources(Inputs{nodes, apis, deps.Kinds}), memory: newMemory(),
	}
	c := runner.New("horizontalpodautoscaler", r, deps, runner.Options{Trace: hpas.TraceContext})
	runner.Watch(c, hpas, runner.Input[*autoscalingv2.HorizontalPodAutoscaler]{
		Keys: runner.Self[*autoscalingv2.HorizontalPodAutoscaler],
		// Autoscalers have no generation. Their status is our own.
		Changed: func(old, hpa *autoscalingv2.HorizontalPodAutoscaler) bool {
			return !equality.Semantic.DeepEqual(old.Spec, hpa.Spec) || !maps.Equal(old.Annotations, hpa.Annotations)
		},
	})
	return c, nil
}

// Reconcile looks at one autoscaler's metrics and scales its target. That a
// metric or the target is missing is no error of ours: the conditions say so,
// and the next round tries again.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	stored, ok := r.hpas.GetByKey(key)
	if !ok {
		r.memory.forget(key)
		namespace, name, _ := strings.Cut(key, "/")
		r.selected.Drop(namespace, name)
		return runner.Done(), nil
	}
	round := &round{reconciler: r, key: key, hpa: stored.DeepCopy(), now: time.Now()}
	scaleErr := round.run(ctx)
	if err := round.writeStatus(ctx, stored); err != nil {
		return runner.Done(), err
	}
	return runner.RequeueAfter(period), scaleErr
}

// round is one look at an autoscaler. hpa is a copy that may be changed.
type round struct {
	*reconciler
	key string
	hpa *autoscalingv2.HorizontalPodAutoscaler
	now time.Time
}

func (r *round) run(ctx context.Context) error {
	r.hpa.Status.ObservedGeneration = &r.hpa.Generation
	kind, scale, err := r.readScale(ctx)
	if err != nil {
		r.events.Event(r.hpa, corev1.EventTypeWarning, "FailedGetScale", err.Error())
		r.set(autoscalingv2.AbleToScale, corev1.ConditionFalse, "FailedGetScale", "the HPA controller was unable to get the target's current scale: "+err.Error())
		return nil
	}
	r.set(autoscalingv2.AbleToScale, corev1.ConditionTrue, "SucceededGetScale", "the HPA controller was able to get the target's current scale")
	r.memory.begin(r.key, scale.Spec.Replicas, r.now)
	r.hpa.Status.CurrentReplicas = scale.Status.Replicas
	desired, reason, ok := r.decide(ctx, scale)
	if !ok {
		r.hpa.Status.CurrentReplicas = scale.Spec.Replicas
		return nil
	}
	current := scale.Spec.Replicas
	r.hpa.Status.CurrentReplicas, r.hpa.Status.DesiredReplicas = current, desired
	if desired == current {
		return nil
	}
	if err := r.noteZero(ctx, current, desired); err != nil {
		return err
	}
	if err := r.writeScale(ctx, kind, scale, desired); err != nil {
		r.hpa.Status.DesiredReplicas = current
		r.events.Event(r.hpa, corev1.EventTypeWarning, "FailedRescale", fmt.Sprintf("New size: %d; reason: %s; error: %v", desired, reason, err))
		r.set(autoscalingv2.AbleToScale, corev1.ConditionFalse, "FailedUpdateScale", "the HPA controller was unable to update the target scale: "+err.Error())
		return err
	}
	r.set(autoscalingv2.AbleToScale, corev1.ConditionTrue, "SucceededRescale", fmt.Sprintf("the HPA controller was able to update the target scale to %d", desired))
	r.events.Event(r.hpa, corev1.EventTypeNormal, "SuccessfulRescale", fmt.Sprintf("New size: %d; reason: %s", desired, reason))
	r.memory.scaled(r.key, desired-current, r.now)
	r.hpa.Status.LastScaleTime = ptr.To(metaTime(r.now))
	return nil
}

const belowLeast = "Current number of replicas below Spec.MinReplicas"

// decide returns how many pods there should be, and why. Without ok the
// metrics do not tell.
func (r *round) decide(ctx context.Context, scale *autoscalingv1.Scale) (desired int32, reason string, ok bool) {
	current, least, most := scale.Spec.Replicas, ptr.Deref(r.hpa.Spec.MinReplicas, 1), r.hpa.Spec.MaxReplicas
	switch {
	case current == 0 && !r.wakes(least):
		r.set(autoscalingv2.ScalingActive, corev1.ConditionFalse, "ScalingDisabled", "scaling is disabled since the replica count of the target is zero")
		return 0, "", true
	case current > most:
		return most, "Current number of replicas above Spec.MaxReplicas", true
	case current != 0 && current < least:
		return least, belowLeast, true
	}
	proposed, metric, err := r.proposal(ctx, scale)
	if err != nil {
		r.events.Event(r.hpa, corev1.EventTypeWarning, "FailedComputeMetricsReplicas", err.Error())
		return 0, "", false
	}
	switch {
	case proposed > current:
		reason = metric + " above target"
	case proposed < current:
		reason = "All metrics below target"
	}
	desired = r.normalize(current, proposed, least)
	if current == 0 && desired < least {
		// It was scaled to nothing, which its autoscaler no longer allows.
		desired, reason = least, cmp.Or(reason, belowLeast)
	}
	return desired, reason, true
}
