package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/admission"
	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/cache"
)

// bindWorkers is how many bindings are in flight at once: enough for the
// backend to write them to disk together.
const bindWorkers = 64

// Binding assigns a pod to a node.
type Binding struct {
	*storev1.Binding
	// Event tells of it; nil is none.
	Event *corev1.Event
}

// Bind assigns pods to nodes. Every pod is a transaction of its own, so that
// each binding has its own outcome and no two pods share a revision: a watcher
// that resumes between two events of one revision would miss the second. The
// result holds an error or nil for each binding.
func (r *Registry) Bind(ctx context.Context, w Write, bindings []Binding) []error {
	errs := make([]error, len(bindings))
	w.Verb = "bind"
	var wg sync.WaitGroup
	slots := make(chan struct{}, bindWorkers)
	for i, b := range bindings {
		slots <- struct{}{}
		wg.Add(1)
		r.workers.Do(func() {
			defer wg.Done()
			defer func() { <-slots }()
			w := w
			w.Namespace, w.Name = b.GetNamespace(), b.GetName()
			errs[i] = r.bindOne(ctx, w, b)
		})
	}
	wg.Wait()
	return errs
}

func (r *Registry) bindOne(ctx context.Context, w Write, b Binding) error {
	if b.GetNodeName() == "" {
		return apierrors.NewBadRequest("a binding names a node")
	}
	if err := r.judgeBinding(ctx, w, b.Binding); err != nil {
		return err
	}
	event := r.putEvent(ctx, w, b.Event)
	_, _, err := r.modify(ctx, w, func(cur *cache.Version) (outcome, error) {
		bound := *cur.Object().(*corev1.Pod) // which assign changes nothing of that the two share
		pod := &bound
		if err := assign(w, pod, b.Binding); err != nil {
			return outcome{}, err
		}
		trace := b.GetTrace()
		if trace.GetTraceparent() == "" {
			trace = cur.Trace
		}
		return outcome{object: pod, trace: trace, ops: event}, nil
	})
	return err
}

// putEvent returns the operation that stores an Event in the transaction of
// what it tells of: it is there if that is, and costs no transaction of its
// own. The two are of different resources, so that no watch sees both. There is
// no operation if there is no event, or if it may not be stored: an event is
// never a reason to fail.
func (r *Registry) putEvent(ctx context.Context, w Write, event *corev1.Event) []backend.Op {
	if event == nil || w.DryRun {
		return nil
	}
	put, err := r.newEvent(ctx, w, event)
	if err != nil {
		r.Log.DebugContext(ctx, "an event is not stored", "namespace", w.Namespace, "name", event.Name, "error", err)
		return nil
	}
	return []backend.Op{put}
}

// newEvent returns the operation that stores a new Event, which no quota counts.
func (r *Registry) newEvent(ctx context.Context, w Write, event *corev1.Event) (backend.Op, error) {
	kind, err := r.Kinds.ForObject(event)
	if err != nil {
		return backend.Op{}, err
	}
	w.Kind, w.Name, w.Verb, w.Subresource = kind, event.Name, "create", ""
	if err := placeNew(w, event); err != nil {
		return backend.Op{}, err
	}
	obj, err := r.readyNew(ctx, &w, event, event.Name)
	if err != nil {
		return backend.Op{}, err
	}
	_, put, err := r.draftNew(ctx, w, obj)
	// Its name has the nanosecond in it. Should there be one already, the
	// binding must not fail for that.
	put.Expect = backend.Any
	return put, err
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

// setScheduled sets the condition in a list of the pod's own.
func setScheduled(pod *corev1.Pod) {
	condition := corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionTrue, ObservedGeneration: pod.Generation, LastTransitionTime: metav1.Now().Rfc3339Copy(),
	}
	conditions := slices.Clone(pod.Status.Conditions)
	if i := slices.IndexFunc(conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodScheduled }); i >= 0 {
		conditions[i] = condition
	} else {
		conditions = append(conditions, condition)
	}
	pod.Status.Conditions = conditions
}
