// Package podgc removes pods that no agent will ever remove: those of nodes
// that are gone or declared out of service, those deleted before they had a
// node, and the oldest finished ones where there are too many.
package podgc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/podset"
	"navarch.dev/navarch/services/controller/runner"
)

const (
	// finishedKey stands for all finished pods; other keys name one pod, and
	// so have a slash.
	finishedKey = "finished"

	byNode = "node"
)

type reconciler struct {
	client    *client.Client
	pods      *client.Informer[*corev1.Pod]
	nodes     *client.Informer[*corev1.Node]
	threshold int
}

// New returns the controller. threshold is how many finished pods are kept; 0
// is all.
func New(deps runner.Deps, threshold int) (*runner.Controller, error) {
	pods, err := client.InformerFor[*corev1.Pod](deps.Informers, cache.Indexers{byNode: nodeOf})
	if err != nil {
		return nil, err
	}
	nodes, err := client.InformerFor[*corev1.Node](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	r := &reconciler{client: deps.Client, pods: pods, nodes: nodes, threshold: threshold}
	c := runner.New("podgc", r, deps, runner.Options{})
	runner.Watch(c, pods, runner.Input[*corev1.Pod]{Keys: r.keys})
	ofNode := func(n *corev1.Node) {
		onNode, err := pods.ByIndex(byNode, n.Name)
		if err != nil {
			return // the index is always there
		}
		for _, pod := range onNode {
			c.Enqueue(cache.MetaObjectToName(pod).String())
		}
	}
	nodes.AddHandler(client.Handler[*corev1.Node]{
		OnUpdate: func(old, n *corev1.Node) {
			if outOfService(n) && !outOfService(old) {
				ofNode(n)
			}
		},
		OnDelete: ofNode,
	})
	return c, nil
}

func nodeOf(v any) ([]string, error) {
	pod, ok := v.(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("index a %T: not a Pod", v)
	}
	if pod.Spec.NodeName == "" {
		return nil, nil
	}
	return []string{pod.Spec.NodeName}, nil
}

// keys returns a pod's key if it may have to go.
func (r *reconciler) keys(pod *corev1.Pod) []string {
	var keys []string
	if podset.IsFinished(pod) && r.threshold > 0 {
		keys = append(keys, finishedKey)
	}
	if r.verdict(pod) != stays {
		keys = append(keys, cache.MetaObjectToName(pod).String())
	}
	return keys
}

// verdict is what is to happen to a pod, as far as the informers tell.
type verdict int

const (
	stays verdict = iota
	// orphaned: its node is not there.
	orphaned
	// stuck: it is being deleted and nobody will finish that.
	stuck
)

func (r *reconciler) verdict(pod *corev1.Pod) verdict {
	if pod.Spec.NodeName == "" {
		if pod.DeletionTimestamp != nil && len(pod.Finalizers) == 0 {
			return stuck
		}
		return stays
	}
	node, ok := r.nodes.GetByKey(pod.Spec.NodeName)
	switch {
	case !ok:
		return orphaned
	case pod.DeletionTimestamp != nil && outOfService(node):
		return stuck
	default:
		return stays
	}
}

// outOfService says whether an administrator has declared a node that is not
// ready as shut down.
func outOfService(n *corev1.Node) bool {
	ready := slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
	return !ready && slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
}

// Reconcile removes one pod, or the surplus of finished ones.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	if !runner.IsNamespaced(key) {
		return runner.Done(), r.removeSurplus(ctx)
	}
	pod, ok := r.pods.GetByKey(key)
	if !ok {
		return runner.Done(), nil
	}
	switch r.verdict(pod) {
	case orphaned:
		gone, err := r.nodeIsGone(ctx, pod.Spec.NodeName)
		if err != nil || !gone {
			return runner.Done(), err
		}
		return runner.Done(), r.fail(ctx, pod, "PodGC: node no longer exists")
	case stuck:
		if pod.Spec.NodeName == "" {
			return runner.Done(), r.remove(ctx, pod)
		}
		return runner.Done(), r.fail(ctx, pod, "PodGC: node is out of service")
	}
	return runner.Done(), nil
}

// nodeIsGone asks the Store: the informer of nodes may be behind that of pods.
func (r *reconciler) nodeIsGone(ctx context.Context, name string) (bool, error) {
	err := r.client.Get(ctx, "", name, &corev1.Node{})
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for node %s: %w", name, err)
	}
	return false, nil
}

// fail ends a pod that nobody runs any more, and removes it.
func (r *reconciler) fail(ctx context.Context, pod *corev1.Pod, why string) error {
	if !podset.IsFinished(pod) {
		failed := pod.DeepCopy()
		failed.Status.Phase = corev1.PodFailed
		if podset.Condition(failed, corev1.DisruptionTarget) == nil {
			failed.Status.Conditions = append(failed.Status.Conditions, corev1.PodCondition{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(time.Now()),
				Reason: "DeletionByPodGC", Message: why,
			})
		}
		err := r.client.UpdateStatus(ctx, failed)
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("fail pod %s/%s: %w", pod.Namespace, pod.Name, err)
		}
	}
	return r.remove(ctx, pod)
}

func (r *reconciler) remove(ctx context.Context, pod *corev1.Pod) error {
	err := r.client.Delete(ctx, pod, client.DeleteOptions{UID: pod.UID, GracePeriodSeconds: ptr.To[int64](0)})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

// removeSurplus removes the oldest finished pods beyond the threshold.
func (r *reconciler) removeSurplus(ctx context.Context) error {
	finished := slices.DeleteFunc(r.pods.List(), func(pod *corev1.Pod) bool {
		return !podset.IsFinished(pod) || pod.DeletionTimestamp != nil
	})
	surplus := len(finished) - r.threshold
	if r.threshold == 0 || surplus <= 0 {
		return nil
	}
	slices.SortFunc(finished, func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.UID, b.UID))
	})
	var errs []error
	for _, pod := range finished[:surplus] {
		errs = append(errs, r.remove(ctx, pod))
	}
	return errors.Join(errs...)
}
