package scheduler

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"navarch.dev/navarch/internal/client"
)

// groupWatch follows what groups pods, so that those of a group can be spread:
// services and the controllers of interchangeable pods.
type groupWatch struct {
	services     *client.Informer[*corev1.Service]
	controllers  *client.Informer[*corev1.ReplicationController]
	replicaSets  *client.Informer[*appsv1.ReplicaSet]
	statefulSets *client.Informer[*appsv1.StatefulSet]
}

func newGroupWatch(informers *client.Informers) (*groupWatch, error) {
	w := &groupWatch{}
	var err error
	if w.services, err = client.InformerFor[*corev1.Service](informers, nil); err != nil {
		return nil, err
	}
	if w.controllers, err = client.InformerFor[*corev1.ReplicationController](informers, nil); err != nil {
		return nil, err
	}
	if w.replicaSets, err = client.InformerFor[*appsv1.ReplicaSet](informers, nil); err != nil {
		return nil, err
	}
	if w.statefulSets, err = client.InformerFor[*appsv1.StatefulSet](informers, nil); err != nil {
		return nil, err
	}
	return w, nil
}

// Selector implements topologyspread.Groups: what all the services that select
// the pod, and its controller, ask of labels.
func (w *groupWatch) Selector(pod *corev1.Pod) labels.Selector {
	merged := labels.Set{}
	for _, service := range w.services.InNamespace(pod.Namespace) {
		if len(service.Spec.Selector) > 0 && matchesAll(service.Spec.Selector, pod.Labels) {
			merged = labels.Merge(merged, service.Spec.Selector)
		}
	}
	selector := merged.AsSelectorPreValidated()
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return selector
	}
	requirements, _ := w.ofController(pod.Namespace, owner).Requirements()
	return selector.Add(requirements...)
}

func matchesAll(want, have map[string]string) bool {
	for key, value := range want {
		if v, ok := have[key]; !ok || v != value {
			return false
		}
	}
	return true
}

// ofController returns the selector of a controller; an empty one if it is not
// of a kind whose pods are alike, or is not known.
func (w *groupWatch) ofController(namespace string, owner *metav1.OwnerReference) labels.Selector {
	var selector *metav1.LabelSelector
	switch owner.APIVersion + " " + owner.Kind {
	case "v1 ReplicationController":
		if rc, ok := w.controllers.Get(namespace, owner.Name); ok {
			selector = &metav1.LabelSelector{MatchLabels: rc.Spec.Selector}
		}
	case "apps/v1 ReplicaSet":
		if rs, ok := w.replicaSets.Get(namespace, owner.Name); ok {
			selector = rs.Spec.Selector
		}
	case "apps/v1 StatefulSet":
		if set, ok := w.statefulSets.Get(namespace, owner.Name); ok {
			selector = set.Spec.Selector
		}
	}
	parsed, err := metav1.LabelSelectorAsSelector(selector) // of none, one without requirements
	if err != nil {
		return labels.NewSelector()
	}
	return parsed
}
