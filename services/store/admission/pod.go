package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/services/store/access"
)

// podPriority turns a pod's priorityClassName into its priority.
type podPriority struct {
	noValidation
	reader access.Reader
}

func (p podPriority) Mutate(ctx context.Context, r *Request) error {
	pod, ok := r.Object.(*corev1.Pod)
	if !ok || r.Subresource != "" {
		return nil
	}
	if old, ok := r.Old.(*corev1.Pod); ok && r.Operation == Update {
		keepPriority(&pod.Spec, &old.Spec)
		return nil
	}
	if r.Operation != Create {
		return nil
	}
	class, err := p.classOf(ctx, r, pod)
	if err != nil {
		return err
	}
	value, policy := int32(0), corev1.PreemptLowerPriority
	if class != nil {
		pod.Spec.PriorityClassName, value = class.Name, class.Value
		if class.PreemptionPolicy != nil {
			policy = *class.PreemptionPolicy
		}
	}
	if pod.Spec.Priority != nil && *pod.Spec.Priority != value {
		return apierrors.NewForbidden(r.Kind.GroupResource(), r.Title(),
			fmt.Errorf("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *pod.Spec.Priority, value))
	}
	pod.Spec.Priority = &value
	if pod.Spec.PreemptionPolicy == nil {
		pod.Spec.PreemptionPolicy = &policy
	}
	return nil
}

// keepPriority carries what was found at the pod's creation over to an update
// that leaves it out. What it changes is validation's to refuse.
func keepPriority(spec, was *corev1.PodSpec) {
	if spec.Priority == nil {
		spec.Priority = was.Priority
	}
	if spec.PreemptionPolicy == nil {
		spec.PreemptionPolicy = was.PreemptionPolicy
	}
}

// classOf returns the class that the pod names or else the global default; nil
// if there is none.
func (p podPriority) classOf(ctx context.Context, r *Request, pod *corev1.Pod) (*schedulingv1.PriorityClass, error) {
	resource := schema.GroupVersionResource{Group: "scheduling.k8s.io", Version: "v1", Resource: "priorityclasses"}
	if name := pod.Spec.PriorityClassName; name != "" {
		obj, err := p.reader.Get(ctx, resource, "", name)
		if apierrors.IsNotFound(err) {
			return nil, apierrors.NewForbidden(r.Kind.GroupResource(), r.Title(), fmt.Errorf("no PriorityClass with name %s was found", name))
		}
		if err != nil {
			return nil, err
		}
		return obj.(*schedulingv1.PriorityClass), nil
	}
	objs, err := p.reader.List(ctx, resource, "")
	if err != nil {
		return nil, err
	}
	var found *schedulingv1.PriorityClass
	for _, obj := range objs {
		if class := obj.(*schedulingv1.PriorityClass); class.GlobalDefault && (found == nil || class.Value < found.Value) {
			found = class
		}
	}
	return found, nil
}

// podTolerations gives pods the tolerations that keep them on a node through a
// short outage, for so many seconds.
type podTolerations struct {
	noValidation
	notReady, unreachable int64
}

func (p podTolerations) Mutate(_ context.Context, r *Request) error {
	pod, ok := r.Object.(*corev1.Pod)
	if !ok || r.Subresource != "" {
		return nil
	}
	for _, taint := range []struct {
		key     string
		seconds int64
	}{{corev1.TaintNodeNotReady, p.notReady}, {corev1.TaintNodeUnreachable, p.unreachable}} {
		if key, seconds := taint.key, taint.seconds; !toleratesEviction(pod.Spec.Tolerations, key) {
			pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{
				Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds,
			})
		}
	}
	return nil
}

func toleratesEviction(tolerations []corev1.Toleration, key string) bool {
	for _, t := range tolerations {
		if (t.Key == key || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "") {
			return true
		}
	}
	return false
}

// nodeTaint keeps pods off a new node until it has reported itself ready.
type nodeTaint struct{ noValidation }

func (nodeTaint) Mutate(_ context.Context, r *Request) error {
	node, ok := r.Object.(*corev1.Node)
	if !ok || r.Operation != Create || r.Subresource != "" {
		return nil
	}
	taint := corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}
	for _, t := range node.Spec.Taints {
		if t.MatchTaint(&taint) {
			return nil
		}
	}
	node.Spec.Taints = append(node.Spec.Taints, taint)
	return nil
}
