package scheduler

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/client"
)

// gatedMessage is the condition's message of a pod with scheduling gates.
const gatedMessage = "Scheduling is blocked due to non-empty scheduling gates"

// conditionWriter keeps pods' PodScheduled conditions and nominated nodes. It
// writes behind the scheduling loop's back, the latest of each pod only, and
// only what differs from what the pod says already.
type conditionWriter struct {
	client *client.Client
	pods   *client.Informer[*corev1.Pod]
	log    *slog.Logger

	mu      sync.Mutex // guards pending and order
	pending map[types.UID]verdict
	order   []types.UID
	kick    chan struct{}
}

// verdict is what a pod's status should say. Without a reason it is about the
// nomination alone.
type verdict struct {
	namespace, name            string
	uid                        types.UID
	reason, message, nominated string
}

func newConditionWriter(c *client.Client, pods *client.Informer[*corev1.Pod], log *slog.Logger) *conditionWriter {
	return &conditionWriter{client: c, pods: pods, log: log, pending: make(map[types.UID]verdict), kick: make(chan struct{}, 1)}
}

// set asks for PodScheduled=False with a reason and a message.
func (w *conditionWriter) set(pod *corev1.Pod, reason, message, nominated string) {
	w.change(pod, func(v *verdict) { v.reason, v.message, v.nominated = reason, message, nominated })
}

// clearNomination asks for no nominated node, and leaves the condition as it is or
// is about to be.
func (w *conditionWriter) clearNomination(pod *corev1.Pod) {
	w.change(pod, func(v *verdict) { v.nominated = "" })
}

func (w *conditionWriter) change(pod *corev1.Pod, change func(*verdict)) {
	w.mu.Lock()
	v, ok := w.pending[pod.UID]
	if !ok {
		w.order = append(w.order, pod.UID)
		v = verdict{namespace: pod.Namespace, name: pod.Name, uid: pod.UID}
	}
	change(&v)
	w.pending[pod.UID] = v
	w.mu.Unlock()
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

func (w *conditionWriter) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.kick:
		}
		for v, ok := w.next(); ok && ctx.Err() == nil; v, ok = w.next() {
			if err := w.write(ctx, v); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && ctx.Err() == nil {
				w.log.WarnContext(ctx, "pod condition not written", "pod", v.namespace+"/"+v.name, "error", err)
			}
		}
	}
}

func (w *conditionWriter) next() (verdict, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.order) == 0 {
		return verdict{}, false
	}
	uid := w.order[0]
	w.order = w.order[1:]
	v := w.pending[uid]
	delete(w.pending, uid)
	return v, true
}

// write patches the pod's status, unless the pod has a node by now or says the
// same already.
func (w *conditionWriter) write(ctx context.Context, v verdict) error {
	pod, ok := w.pods.Get(v.namespace, v.name)
	if !ok || pod.UID != v.uid || pod.Spec.NodeName != "" || says(pod, v) {
		return nil
	}
	patch, err := statusPatch(pod, v, metav1.Now())
	if err != nil {
		return err
	}
	target := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: v.namespace, Name: v.name}}
	key := v.namespace + "/" + v.name
	if err := w.client.Patch(w.pods.TraceContext(ctx, key), target, types.StrategicMergePatchType, patch, "status"); err != nil {
		return fmt.Errorf("write condition of pod %s: %w", key, err)
	}
	return nil
}

// says says whether a pod is known to say a verdict. What takes a nomination back
// is written in any case: the pod may not be known to have it yet.
func says(pod *corev1.Pod, v verdict) bool {
	c := scheduledCondition(pod)
	return c != nil && c.Status == corev1.ConditionFalse && c.Reason == v.reason && c.Message == v.message &&
		pod.Status.NominatedNodeName == v.nominated
}

func scheduledCondition(pod *corev1.Pod) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == corev1.PodScheduled {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

// statusPatch is the strategic merge patch for a verdict. The uid keeps it off
// another pod of the same name.
func statusPatch(pod *corev1.Pod, v verdict, now metav1.Time) ([]byte, error) {
	status := make(map[string]any)
	if v.reason != "" {
		status["conditions"] = []corev1.PodCondition{notScheduled(pod, v, now)}
	}
	if v.reason == "" || v.nominated != pod.Status.NominatedNodeName {
		status["nominatedNodeName"] = v.nominated
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": v.uid}, "status": status})
	if err != nil {
		return nil, fmt.Errorf("encode status patch: %w", err)
	}
	return patch, nil
}

func notScheduled(pod *corev1.Pod, v verdict, now metav1.Time) corev1.PodCondition {
	condition := corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: v.reason, Message: v.message,
		ObservedGeneration: pod.Generation, LastTransitionTime: now,
	}
	if c := scheduledCondition(pod); c != nil && c.Status == condition.Status {
		condition.LastTransitionTime = c.LastTransitionTime
	}
	return condition
}
