package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/admission"
	"navarch.dev/navarch/services/store/cache"
)

// bindWorkers is how many bindings are in flight at once: enough for the
// backend to write them to disk together.
const bindWorkers = 64

// Bind assigns pods to nodes. Every pod is a transaction of its own, so that
// each binding has its own outcome and no two pods share a revision: a watcher
// that resumes between two events of one revision would miss the second. The
// result holds an error or nil for each binding.
func (r *Registry) Bind(ctx context.Context, w Write, bindings []*storev1.Binding) []error {
	errs := make([]error, len(bindings))
	w.Verb = "bind"
	var wg sync.WaitGroup
	slots := make(chan struct{}, bindWorkers)
	for i, b := range bindings {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			w := w
			w.Namespace, w.Name = b.GetNamespace(), b.GetName()
			errs[i] = r.bindOne(ctx, w, b)
		})
	}
	wg.Wait()
	return errs
}

func (r *Registry) bindOne(ctx context.Context, w Write, b *storev1.Binding) error {
	if b.GetNodeName() == "" {
		return apierrors.NewBadRequest("a binding names a node")
	}
	if err := r.judgeBinding(ctx, w, b); err != nil {
		return err
	}
	_, _, err := r.modify(ctx, w, func(cur *cache.Version) (outcome, error) {
		pod := cur.Object().(*corev1.Pod).DeepCopy()
		if err := assign(w, pod, b); err != nil {
			return outcome{}, err
		}
		trace := b.GetTrace()
		if trace.GetTraceparent() == "" {
			trace = cur.Trace
		}
		return outcome{object: pod, trace: trace}, nil
	})
	return err
}

// judgeBinding asks webhooks and policies about a binding, which they may
// change.
func (r *Registry) judgeBinding(ctx context.Context, w Write, b *storev1.Binding) error {
	binding := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: b.GetNamespace(), Name: b.GetName(), UID: types.UID(b.GetUid())},
		Target:     corev1.ObjectReference{Kind: "Node", Name: b.GetNodeName()},
	}
	request := w.request(admission.Create, binding, nil)
	request.ObjectKind, request.Options = corev1.SchemeGroupVersion.WithKind("Binding"), w.creation()
	if err := r.Judge(ctx, request); err != nil {
		return err
	}
	if request.Rounds.Changed() {
		b.NodeName = request.Object.(*corev1.Binding).Target.Name
	}
	return nil
}

// assign puts a pod on a node.
func assign(w Write, pod *corev1.Pod, b *storev1.Binding) error {
	gr := w.Kind.GroupResource()
	switch {
	case b.GetUid() != "" && b.GetUid() != string(pod.UID):
		return apierrors.NewConflict(gr, pod.Name, fmt.Errorf("Precondition failed: UID in precondition: %s, UID in object meta: %s", b.GetUid(), pod.UID))
	case pod.DeletionTimestamp != nil:
		return apierrors.NewConflict(gr, pod.Name, fmt.Errorf("pod %s is being deleted, cannot be assigned to a host", pod.Name))
	case pod.Spec.NodeName != "":
		return apierrors.NewConflict(gr, pod.Name, fmt.Errorf("pod %s is already assigned to node %q", pod.Name, pod.Spec.NodeName))
	case len(pod.Spec.SchedulingGates) > 0:
		return apierrors.NewConflict(gr, pod.Name, errors.New("pod has non-empty .spec.schedulingGates"))
	}
	pod.Spec.NodeName = b.GetNodeName()
	setScheduled(pod)
	return nil
}

func setScheduled(pod *corev1.Pod) {
	condition := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now().Rfc3339Copy()}
	for i, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled {
			condition.ObservedGeneration = c.ObservedGeneration
			pod.Status.Conditions[i] = condition
			return
		}
	}
	pod.Status.Conditions = append(pod.Status.Conditions, condition)
}
