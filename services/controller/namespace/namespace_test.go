package namespace_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/namespace"
)

func TestTerminatingNamespaceIsEmptiedAndSaysWhatRemains(t *testing.T) {
	c := controllertest.New(t)
	c.Start(c.Controller(namespace.New(c.Deps, c.Inventory)))
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}
	held := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "held", Finalizers: []string{"example.com/hold"}}}
	c.Apply(ns, held,
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "free"}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "s"}},
		&corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "e"}, InvolvedObject: corev1.ObjectReference{Namespace: "team", Kind: "Pod", Name: "p"}},
	)
	c.Remove(ns, "")
	controllertest.Await(c, "a namespace that names what holds it", func(all []*corev1.Namespace) bool {
		for _, n := range all {
			if n.Name == "team" {
				return says(n, corev1.NamespaceContentRemaining, "configmaps has 1 resource instances") &&
					says(n, corev1.NamespaceFinalizersRemaining, "example.com/hold in 1 resource instances")
			}
		}
		return false
	})
	controllertest.Change(c, held, "", func(cm *corev1.ConfigMap) { cm.Finalizers = nil })
	controllertest.Await(c, "no namespace", func(all []*corev1.Namespace) bool {
		for _, n := range all {
			if n.Name == "team" {
				return false
			}
		}
		return true
	})
}

func says(n *corev1.Namespace, t corev1.NamespaceConditionType, message string) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == t {
			return c.Status == corev1.ConditionTrue && strings.Contains(c.Message, message) && !strings.Contains(c.Message, "secrets")
		}
	}
	return false
}

// TestPodsGoFirst has a pod that is held back; what it may rely on stays as long.
func TestPodsGoFirst(t *testing.T) {
	c := controllertest.New(t)
	c.Start(c.Controller(namespace.New(c.Deps, c.Inventory)))
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "held", Finalizers: []string{"example.com/hold"}}, Spec: controllertest.Template("web", "web:1").Spec}
	c.Apply(ns, pod, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "relied-on"}})
	c.Remove(ns, "")
	controllertest.Await(c, "the pod named as what remains", func(all []*corev1.Namespace) bool {
		for _, n := range all {
			if n.Name == "team" {
				return says(n, corev1.NamespaceContentRemaining, "pods has 1 resource instances")
			}
		}
		return false
	})
	controllertest.Await(c, "the pod being deleted", func(all []*corev1.Pod) bool { return len(all) == 1 && all[0].DeletionTimestamp != nil })
	if err := c.Client.Get(t.Context(), "team", "relied-on", &corev1.ConfigMap{}); err != nil {
		t.Errorf("what the pod may rely on: %v", err)
	}
	controllertest.Change(c, pod, "", func(p *corev1.Pod) { p.Finalizers = nil })
	controllertest.Await(c, "nothing left", func(all []*corev1.ConfigMap) bool { return len(all) == 0 })
}
