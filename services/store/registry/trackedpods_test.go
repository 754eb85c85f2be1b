package registry

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/kinds"
)

// New pods have the managed fields that a tracker gives which has seen no other.
func TestPodsAlikeAreTrackedAlike(t *testing.T) {
	kind, err := kinds.Default().ForObject(&corev1.Pod{})
	if err != nil {
		t.Fatal(err)
	}
	created := 0
	newPod := func(change func(*corev1.Pod)) *corev1.Pod {
		created++
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "n", Name: fmt.Sprint("p", created), UID: types.UID(fmt.Sprint(created)), Labels: map[string]string{"app": "a"},
				CreationTimestamp: metav1.Unix(int64(created), 0),
			},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "i:1"}}},
		}
		if change != nil {
			change(pod)
		}
		return pod
	}
	steps := []struct {
		name    string
		manager string
		change  func(*corev1.Pod)
	}{
		{"the first", "a", nil},
		{"one alike", "a", nil},
		{"by another", "b", nil},
		{"of another container", "a", func(p *corev1.Pod) { p.Spec.Containers[0].Name = "other" }},
		{"with another label", "a", func(p *corev1.Pod) { p.Labels["tier"] = "t" }},
		{"with a finalizer", "a", func(p *corev1.Pod) { p.Finalizers = []string{"a.test/b"} }},
		{"too long to be remembered", "a", func(p *corev1.Pod) { p.Annotations = map[string]string{"n": strings.Repeat("n", longestTracked)} }},
		{"whose writer wants none", "a", func(p *corev1.Pod) { p.ManagedFields = []metav1.ManagedFieldsEntry{} }},
		{"one more alike", "a", nil},
	}
	fields := newTracker(kinds.Default())
	for _, s := range steps {
		pod, again := newPod(s.change), newPod(s.change)
		w := Write{Kind: kind, Manager: s.manager, FromUser: true}
		for tracker, pod := range map[*tracker]*corev1.Pod{fields: pod, newTracker(kinds.Default()): again} {
			if err := tracker.trackNew(w, pod); err != nil {
				t.Fatal(err)
			}
			if len(pod.ManagedFields) > 0 && time.Since(pod.ManagedFields[0].Time.Time) > time.Minute {
				t.Errorf("%s: its fields are of %s", s.name, pod.ManagedFields[0].Time)
			}
			for i := range pod.ManagedFields {
				pod.ManagedFields[i].Time = nil
			}
		}
		pod.Name, pod.UID, pod.CreationTimestamp = again.Name, again.UID, again.CreationTimestamp
		if diff := cmp.Diff(again, pod); diff != "" {
			t.Errorf("a pod %s (-alone +after others):\n%s", s.name, diff)
		}
	}
}

// What becomes of one pod's fields does not show in the next one's.
func TestTrackedPodsAreApart(t *testing.T) {
	kind, err := kinds.Default().ForObject(&corev1.Pod{})
	if err != nil {
		t.Fatal(err)
	}
	fields := newTracker(kinds.Default())
	w := Write{Kind: kind, Manager: "a", FromUser: true}
	var want *corev1.Pod
	for range 3 {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "p", Labels: map[string]string{"app": "a"}}}
		if err := fields.trackNew(w, pod); err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = pod.DeepCopy()
		}
		got, expected := pod.ManagedFields[0], want.ManagedFields[0]
		if got.Manager != "a" || cmp.Diff(expected.FieldsV1, got.FieldsV1) != "" {
			t.Fatalf("managed fields %v, want %v", got, expected)
		}
		pod.ManagedFields[0].Manager = "changed"
		pod.ManagedFields[0].FieldsV1.SetRawBytes([]byte("{}"))
	}
}
