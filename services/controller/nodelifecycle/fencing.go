package nodelifecycle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/fencing"
	"navarch.dev/navarch/internal/heartbeat"
	"navarch.dev/navarch/services/controller/podset"
	"navarch.dev/navarch/services/controller/runner"
)

// renewal is what is known of a node's Lease.
type renewal struct {
	// at is when the last renewal was seen here, by our own clock: it was sent
	// before that.
	at time.Time
	// lease is the Lease's newest version. Between the renewal and it there was
	// none.
	lease *coordinationv1.Lease
	// promise is what the agent promised with the renewal; 0 is nothing.
	promise time.Duration
	// broken is the agent's heartbeat stream, if a Store has lost it; brokenAt is
	// when that was seen here.
	broken   string
	brokenAt time.Time
}

// renewals remembers the Leases of all nodes.
type renewals struct {
	mu     sync.Mutex
	byNode map[string]renewal
	// read are the times of the renewals that were read from the Store before they
	// were seen, if ever they were.
	read map[string]*metav1.MicroTime
}

// readNew notes a Lease that was read from the Store, and says whether it has
// been renewed since it was seen or read last.
func (r *renewals) readNew(l *coordinationv1.Lease) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, ok := r.byNode[l.Name]; ok && last.lease.Spec.RenewTime.Equal(l.Spec.RenewTime) {
		return false
	}
	if last, ok := r.read[l.Name]; ok && last.Equal(l.Spec.RenewTime) {
		return false
	}
	r.read[l.Name] = l.Spec.RenewTime
	return true
}

// saw notes a version of a Lease, and says whether the node is to be looked at
// at another time than before.
func (r *renewals) saw(l *coordinationv1.Lease, now time.Time) (other bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, known := r.byNode[l.Name]
	next := renewal{at: last.at, lease: l}
	if !known || !last.lease.Spec.RenewTime.Equal(l.Spec.RenewTime) {
		next.at = now
	}
	next.promise, _ = fencing.Promise(l)
	if heartbeat.Broken(l) {
		next.broken, next.brokenAt = l.Annotations[heartbeat.StreamAnnotation], now
		if next.broken == last.broken {
			next.brokenAt = last.brokenAt
		}
	}
	r.byNode[l.Name] = next
	return next.promise != last.promise || next.broken != last.broken
}

func (r *renewals) of(node string) renewal {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byNode[node]
}

func (r *renewals) forget(node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byNode, node)
	delete(r.read, node)
}

// fast returns the node's renewal if its pods can be replaced fast: its agent
// has promised to stop them.
func (r *reconciler) fast(node string) (last renewal, ok bool) {
	if !r.fastFailover {
		return renewal{}, false
	}
	last = r.renewals.of(node)
	return last, last.promise > 0
}

// doubtful says whether a node that promised to renew its Lease often is late
// with that. It counts as silent where the question is whether one node has
// failed or many are cut off.
func (r *reconciler) doubtful(now time.Time) func(node string) bool {
	return func(node string) bool {
		last, ok := r.fast(node)
		return ok && now.Sub(last.at) > last.promise/2
	}
}

// untilFenced returns how long it is until no pod that runs as long as after
// without a renewal can run on the node: our clock may be slower than the
// agent's, and its kills take a moment.
func (r *reconciler) untilFenced(last renewal, after time.Duration, now time.Time) time.Duration {
	return last.at.Add(after + after/driftParts + r.fenceMargin).Sub(now)
}

// driftParts bounds how much faster one machine's clock may run than another's,
// as a part of the time: ten times what NTP corrects.
const driftParts = 200

// untilReplaced returns how long it is until a pod can be taken for stopped;
// false if that cannot be known without its agent.
func (r *reconciler) untilReplaced(last renewal, pod *corev1.Pod, now time.Time) (time.Duration, bool) {
	after, fenced := fencing.After(pod, last.promise)
	if !fenced || !toldOf(pod) || removed(pod) {
		return 0, false
	}
	return r.untilFenced(last, after, now), true
}

// removed says that the pod only waits for its finalizers.
func removed(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp != nil && podset.IsFinished(pod) && ptr.Deref(pod.DeletionGracePeriodSeconds, 1) == 0
}

// toldOf says whether the agent has acted on all that the pod's spec says, its
// tolerations among it. A deletion changes the generation as well, and once.
func toldOf(pod *corev1.Pod) bool {
	known := max(pod.Status.ObservedGeneration, 1)
	if pod.DeletionTimestamp != nil {
		known++
	}
	return pod.Generation <= known
}

// replace removes pods that have been stopped by their node's agent, so that
// others can take their place. The Lease is marked first. That fails if it has
// been renewed since the pods were judged, and tells the agent to give them up
// once it is back.
func (r *reconciler) replace(ctx context.Context, node *corev1.Node, last renewal, pods []*corev1.Pod, now time.Time) (runner.Outcome, error) {
	marked := last.lease.DeepCopy()
	marked.Annotations = maps.Clone(marked.Annotations)
	marked.Annotations[fencing.MarkAnnotation] = now.UTC().Format(time.RFC3339Nano)
	err := r.client.Update(ctx, marked)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return runner.RequeueAfter(retryReplace), nil // it has been heard of, and we will hear of that
	}
	if err != nil {
		return runner.Done(), fmt.Errorf("mark the Lease of node %s: %w", node.Name, err)
	}
	r.log.InfoContext(ctx, "replacing pods of a silent node", "node", node.Name, "pods", len(pods), "silence", now.Sub(last.at))
	var errs []error
	for _, pod := range pods {
		errs = append(errs, r.remove(ctx, pod, now))
	}
	return runner.Done(), errors.Join(errs...)
}

// retryReplace is when to look again after the Lease was not as we knew it.
const retryReplace = time.Second

// remove takes a pod that no longer runs out of the Store, in the version in
// which it was judged.
func (r *reconciler) remove(ctx context.Context, pod *corev1.Pod, now time.Time) error {
	failed := pod.DeepCopy()
	if !podset.IsFinished(pod) {
		failed.Status.Phase, failed.Status.Reason = corev1.PodFailed, "NodeLost"
		failed.Status.Message = "The pod was stopped because its node was cut off from the cluster"
		if podset.Condition(failed, corev1.DisruptionTarget) == nil {
			failed.Status.Conditions = append(failed.Status.Conditions, corev1.PodCondition{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now),
				Reason: "DeletionByTaintManager", Message: "Taint manager: deleting due to NoExecute taint",
			})
		}
		if err := r.client.UpdateStatus(ctx, failed); err != nil {
			return ignoreGone(fmt.Errorf("fail pod %s/%s: %w", pod.Namespace, pod.Name, err))
		}
	}
	if pod.DeletionTimestamp == nil {
		r.events.Event(pod, corev1.EventTypeNormal, "TaintManagerEviction", fmt.Sprintf("Marking for deletion Pod %s/%s", pod.Namespace, pod.Name))
	}
	err := r.client.Delete(ctx, failed, client.DeleteOptions{
		UID: pod.UID, ResourceVersion: failed.ResourceVersion, GracePeriodSeconds: ptr.To[int64](0),
	})
	if err != nil {
		return ignoreGone(fmt.Errorf("remove pod %s/%s: %w", pod.Namespace, pod.Name, err))
	}
	return nil
}

func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// unreachable says whether a node has been tainted because it is silent.
func unreachable(taints []corev1.Taint) bool {
	return slices.ContainsFunc(taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeUnreachable })
}
