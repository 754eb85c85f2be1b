package hollow

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestEqualListsAreOne(t *testing.T) {
	var k lists
	list := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	same := func(a, b corev1.ResourceList) bool {
		return reflect.ValueOf(a).UnsafePointer() == reflect.ValueOf(b).UnsafePointer()
	}
	first := k.one(list("1", "1Gi"))
	if !same(first, k.one(list("1", "1Gi"))) {
		t.Error("equal lists are two")
	}
	if same(first, k.one(list("1", "2Gi"))) {
		t.Error("lists are told apart wrongly")
	}
	if k.one(nil) != nil {
		t.Error("no list is a list")
	}
	for i := range 2 * mostLists {
		k.one(corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(int64(i), resource.DecimalSI)})
	}
	if len(k.known) > mostLists {
		t.Errorf("%d lists are remembered", len(k.known))
	}
}

func TestSimplify(t *testing.T) {
	sleep := &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 5}}
	http := corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/"}}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: map[string]string{"a": "b"}, ManagedFields: []metav1.ManagedFieldsEntry{{}}},
		Spec: corev1.PodSpec{
			NodeSelector: map[string]string{"a": "b"},
			Containers: []corev1.Container{{
				ReadinessProbe: &corev1.Probe{ProbeHandler: http, PeriodSeconds: 3},
				Lifecycle:      &corev1.Lifecycle{PreStop: sleep, PostStart: &corev1.LifecycleHandler{HTTPGet: http.HTTPGet}},
			}},
		},
	}
	want := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: map[string]string{"a": "b"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: succeeds}, PeriodSeconds: 3},
			Lifecycle:      &corev1.Lifecycle{PreStop: sleep, PostStart: &corev1.LifecycleHandler{Exec: succeeds}},
		}}},
	}
	new(lists).simplify(pod)
	if diff := cmp.Diff(want, pod); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
