package fieldshape

import (
	"bytes"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

type pair struct{ old, new any }

func configMaps(old, new map[string]string) pair {
	return pair{&corev1.ConfigMap{Data: old}, &corev1.ConfigMap{Data: new}}
}

func revisions(old, new string) pair {
	data := func(s string) runtime.RawExtension { return runtime.RawExtension{Raw: []byte(s)} }
	return pair{&appsv1.ControllerRevision{Data: data(old)}, &appsv1.ControllerRevision{Data: data(new)}}
}

func replicas(old, new *int32) pair {
	return pair{&appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: old}}, &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: new}}}
}

func cpus(old, new string) pair {
	capacity := func(s string) *corev1.Node {
		return &corev1.Node{Status: corev1.NodeStatus{Capacity: corev1.ResourceList{"cpu": resource.MustParse(s)}}}
	}
	return pair{capacity(old), capacity(new)}
}

func surges(old, new intstr.IntOrString) pair {
	surge := func(v intstr.IntOrString) *appsv1.Deployment {
		return &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &v}}}}
	}
	return pair{surge(old), surge(new)}
}

func verbs(old, new []string) pair {
	role := func(v []string) *rbacv1.Role { return &rbacv1.Role{Rules: []rbacv1.PolicyRule{{Verbs: v}}} }
	return pair{role(old), role(new)}
}

func finalizers(old, new []string) pair {
	return pair{&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Finalizers: old}}, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Finalizers: new}}}
}

func managed(by string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{{Manager: by}}}}
}

func TestChange(t *testing.T) {
	now := time.Unix(1<<30, 0)
	created := func(at time.Time) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(at)}}
	}
	tests := []struct {
		name string
		a, b pair
		same bool
	}{
		{"other texts", configMaps(map[string]string{"k": "1"}, map[string]string{"k": "2"}), configMaps(map[string]string{"k": "3"}, map[string]string{"k": "4"}), true},
		{"the same text", configMaps(map[string]string{"k": "1"}, map[string]string{"k": "2"}), configMaps(map[string]string{"k": "1"}, map[string]string{"k": "1"}), false},
		{"another member", configMaps(nil, map[string]string{"k": "1"}), configMaps(nil, map[string]string{"l": "1"}), false},
		{"a member added or changed", configMaps(map[string]string{"k": ""}, map[string]string{"k": "1"}), configMaps(map[string]string{}, map[string]string{"k": "1"}), false},
		{"a member added or removed", configMaps(map[string]string{"k": "1"}, map[string]string{}), configMaps(map[string]string{}, map[string]string{"k": "1"}), false},
		{"empty and nil maps", configMaps(nil, map[string]string{"k": "1"}), configMaps(map[string]string{}, map[string]string{"k": "1"}), false},
		{"members that run together", configMaps(nil, map[string]string{"ab": "", "c": ""}), configMaps(nil, map[string]string{"a": "", "bc": ""}), false},
		{"other numbers", replicas(ptr.To(int32(1)), ptr.To(int32(2))), replicas(ptr.To(int32(3)), ptr.To(int32(2))), true},
		{"a number for the first time", replicas(nil, ptr.To(int32(2))), replicas(ptr.To(int32(3)), ptr.To(int32(2))), false},
		{"a number nulled", replicas(ptr.To(int32(3)), ptr.To(int32(0))), replicas(ptr.To(int32(3)), nil), false},
		{"other times", pair{created(now), created(now.Add(time.Hour))}, pair{created(now), created(now.Add(time.Minute))}, true},
		{"a time for the first time", pair{created(time.Time{}), created(now.Add(time.Hour))}, pair{created(now), created(now.Add(time.Hour))}, false},
		{"other quantities", cpus("1", "2"), cpus("100m", "3"), true},
		{"a quantity in other words", cpus("1", "1000m"), cpus("1", "1"), true},
		{"numbers and percentages", surges(intstr.FromInt32(1), intstr.FromString("10%")), surges(intstr.FromString("20%"), intstr.FromInt32(3)), true},
		{"other items", finalizers([]string{"a"}, []string{"b"}), finalizers([]string{"a"}, []string{"c"}), false},
		{"the same items", finalizers([]string{"a"}, []string{"a"}), finalizers([]string{"b", "c"}, []string{"b", "c"}), true},
		{"items that run together", finalizers([]string{"a"}, []string{"bc", "d"}), finalizers([]string{"a"}, []string{"b", "cd"}), false},
		{"items that change sides", finalizers([]string{"a"}, []string{"b", "c"}), finalizers([]string{"a", "b"}, []string{"c"}), false},
		{"empty and nil lists in items", verbs([]string{"get"}, nil), verbs([]string{"get"}, []string{}), false},
		{"documents", revisions(`{"a":1}`, `{"b":1}`), revisions(`{"a":1}`, `{"c":1}`), false},
		{"the same documents", revisions(`{"a":1}`, `{"a":1}`), revisions(`{"b":1}`, `{"b":1}`), true},
		{"documents that are leaves", revisions(`1`, `2`), revisions(`3`, `4`), true},
		{"managed fields", pair{&corev1.ConfigMap{}, managed("m")}, pair{&corev1.ConfigMap{}, managed("l")}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, ok := Change(nil, tt.a.old, tt.a.new)
			b, too := Change([]byte("before"), tt.b.old, tt.b.new)
			if !ok || !too {
				t.Fatalf("one has no shape: %t, %t", ok, too)
			}
			if got := bytes.Equal(a, bytes.TrimPrefix(b, []byte("before"))); got != tt.same {
				t.Errorf("they have the same shape: %t\n%q\n%q", got, a, b)
			}
		})
	}
}

func TestChangeWithoutShape(t *testing.T) {
	long := make([]string, longest)
	for name, p := range map[string]pair{
		"long":         finalizers(nil, long),
		"long texts":   finalizers(nil, []string{strings.Repeat("x", longest)}),
		"an interface": {&struct{ A any }{1}, &struct{ A any }{2}},
		"in an item":   {&struct{ A []any }{nil}, &struct{ A []any }{[]any{2}}},
		"no text":      {&struct{ A map[int]int }{nil}, &struct{ A map[int]int }{map[int]int{1: 2}}},
	} {
		if b, ok := Change(nil, p.old, p.new); ok {
			t.Errorf("%s has the shape %.100q", name, b)
		}
	}
}
