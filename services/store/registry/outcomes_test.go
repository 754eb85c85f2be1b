package registry

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/kinds/kindtest"
)

// TestWritesAlikeAreTrackedAlike has several managers write random objects of every
// kind, again and again the same few with other names and texts: a tracker that has
// seen many of them makes the same of managed fields as one that has seen none.
func TestWritesAlikeAreTrackedAlike(t *testing.T) {
	registry := kinds.Default()
	schemas := newTracker(registry)
	schemas.readTypes()
	forgetful := func() *tracker { // reads no schema again
		fresh := newTracker(registry)
		fresh.types, fresh.scheme = schemas.types, schemas.scheme
		fresh.managers = schemas.managers
		return fresh
	}
	for i, kind := range registry.Stock() {
		t.Run(kind.GVK().Kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if schemas.converted(kind, kind.New()) {
					t.Skip("tracked as a whole")
				}
				fill, r := kindtest.Filler(int64(i)), rand.New(rand.NewPCG(uint64(i), 0))
				var pool []kinds.Object
				for range 3 {
					obj := kind.New()
					fill(obj)
					obj.SetManagedFields(nil)
					pool = append(pool, obj)
				}
				experienced, tracked := forgetful(), false
				for range 12 {
					var live kinds.Object
					for step := range 6 {
						time.Sleep(time.Duration(r.IntN(2)) * time.Second)
						w := Write{Kind: kind, Manager: []string{"", "a", "b"}[r.IntN(3)], FromUser: true, Subresource: []string{"", "", "status"}[r.IntN(3)]}
						next := pool[r.IntN(len(pool))].DeepCopyObject().(kinds.Object)
						if live != nil && r.IntN(2) == 0 {
							next = live.DeepCopyObject().(kinds.Object)
							next.SetManagedFields(nil)
						}
						next.SetName(fmt.Sprint("n", r.Int()))
						next.SetUID(types.UID(fmt.Sprint(r.Int())))
						otherTexts(reflect.ValueOf(next).Elem(), r)
						if live != nil && r.IntN(2) == 0 {
							next.SetManagedFields(live.DeepCopyObject().(kinds.Object).GetManagedFields())
						}
						alone := next.DeepCopyObject().(kinds.Object)
						var err, errAlone error
						if step == 0 {
							err, errAlone = experienced.trackNew(w, next), forgetful().trackNew(w, alone)
						} else {
							err, errAlone = experienced.track(w, next, live), forgetful().track(w, alone, live)
						}
						if err != nil || errAlone != nil {
							t.Fatalf("step %d: %v, %v", step, err, errAlone)
						}
						if diff := cmp.Diff(alone, next); diff != "" {
							t.Fatalf("step %d of %+v (-alone +after others):\n%s", step, w, diff)
						}
						live, tracked = next, tracked || len(next.GetManagedFields()) > 0
					}
				}
				if tracked && experienced.known.entries.Len() == 0 {
					t.Error("nothing is remembered")
				}
			})
		})
	}
}

// otherTexts gives some members of an object's maps of texts other values, and some
// other names.
func otherTexts(v reflect.Value, r *rand.Rand) {
	for i := range v.NumField() {
		switch f := v.Field(i); {
		case f.Type() == reflect.TypeFor[metav1.ObjectMeta]():
			otherTexts(f, r)
		case f.Type() == reflect.TypeFor[map[string]string]():
			keys := slices.SortedFunc(slices.Values(f.MapKeys()), func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
			for _, k := range keys {
				switch r.IntN(4) {
				case 0:
					f.SetMapIndex(k, reflect.ValueOf(fmt.Sprint(r.Int())))
				case 1:
					f.SetMapIndex(k, reflect.Value{})
					f.SetMapIndex(reflect.ValueOf([]string{"k1", "k2"}[r.IntN(2)]), reflect.ValueOf(fmt.Sprint(r.Int())))
				}
			}
		}
	}
}

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
		known   bool
	}{
		{"the first", "a", nil, false},
		{"one alike", "a", nil, true},
		{"by another", "b", nil, false},
		{"of another container", "a", func(p *corev1.Pod) { p.Spec.Containers[0].Name = "other" }, false},
		{"with another label", "a", func(p *corev1.Pod) { p.Labels["tier"] = "t" }, false},
		{"with a label of another value", "a", func(p *corev1.Pod) { p.Labels["app"] = "b" }, true},
		{"with a finalizer", "a", func(p *corev1.Pod) { p.Finalizers = []string{"a.test/b"} }, false},
		{"too long to be remembered", "a", func(p *corev1.Pod) { p.Spec.Containers[0].Image = strings.Repeat("n", 64<<10) }, false},
		{"whose writer wants none", "a", func(p *corev1.Pod) { p.ManagedFields = []metav1.ManagedFieldsEntry{} }, false},
		{"one more alike", "a", nil, true},
	}
	fields := newTracker(kinds.Default())
	for _, s := range steps {
		pod, again := newPod(s.change), newPod(s.change)
		w := Write{Kind: kind, Manager: s.manager, FromUser: true}
		if key, before, ok := fields.known.keyOf(w, pod, fields.empty(kind)); ok {
			if _, known := fields.known.get(key, before, time.Now()); known != s.known {
				t.Errorf("the managed fields of %s are known: %t", s.name, known)
			}
		} else if s.known {
			t.Errorf("%s is not known", s.name)
		}
		for tracker, pod := range map[*tracker]*corev1.Pod{fields: pod, newTracker(kinds.Default()): again} {
			if err := tracker.trackNew(w, pod); err != nil {
				t.Fatal(err)
			}
			for i := range pod.ManagedFields {
				if pod.ManagedFields[i].Time == nil {
					t.Errorf("%s: its fields have no time", s.name)
				}
				pod.ManagedFields[i].Time = nil
			}
		}
		pod.Name, pod.UID, pod.CreationTimestamp = again.Name, again.UID, again.CreationTimestamp
		if diff := cmp.Diff(again, pod); diff != "" {
			t.Errorf("a pod %s (-alone +after others):\n%s", s.name, diff)
		}
	}
}

// What becomes of one object's managed fields does not show in the next one's.
func TestManagedFieldsAreApart(t *testing.T) {
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
