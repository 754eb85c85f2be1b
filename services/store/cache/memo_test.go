package cache

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// stored returns a version of a ConfigMap as a cache holds it.
func stored(t testing.TB, b *Budget, n int) *Version {
	t.Helper()
	obj := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("m-%d", n), Labels: map[string]string{"b": "2", "a": "1"}},
		Data:       map[string]string{"text": strings.Repeat("x", 1000)},
	}
	kind, err := kinds.Default().ForObject(obj)
	if err != nil {
		t.Fatal(err)
	}
	draft, err := NewDraft(kind, "/configmaps/default/"+obj.Name, obj, Envelope{})
	if err != nil {
		t.Fatal(err)
	}
	v := draft.At(int64(n + 1))
	b.adopt(v)
	return v
}

func (b *Budget) sum() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.spent
}

func TestMemosAreForgottenAndMadeAnew(t *testing.T) {
	b := NewBudget(50_000)
	var all []*Version
	for n := range 100 {
		all = append(all, stored(t, b, n))
	}
	if b.sum() > 50_000 {
		t.Errorf("the budget of 50000 bytes holds %d", b.sum())
	}
	first, last := all[0], all[99]
	if first.memo.Load() != nil || last.memo.Load() == nil {
		t.Fatalf("of a hundred the first has a memo: %v, the last: %v; want the last only", first.memo.Load() != nil, last.memo.Load() != nil)
	}
	before := last.Object()
	again := first.Object().(*corev1.ConfigMap)
	want := before.DeepCopyObject().(*corev1.ConfigMap)
	want.Name, want.ResourceVersion = "m-0", "1"
	if diff := cmp.Diff(want, again); diff != "" {
		t.Errorf("what was decoded anew (-want +got):\n%s", diff)
	}
	if first.Object() != again {
		t.Error("decoded again although it was just asked for")
	}
}

func TestWhatIsAskedForIsSpared(t *testing.T) {
	b := NewBudget(50_000)
	wanted := stored(t, b, 0)
	obj := wanted.Object()
	for n := range 1000 {
		stored(t, b, n+1)
		if wanted.Object() != obj {
			t.Fatalf("forgotten after %d others, though it was always asked for", n)
		}
	}
	if b.sum() > 50_000 || len(b.queue) > 200 {
		t.Errorf("the budget holds %d bytes in %d places", b.sum(), len(b.queue))
	}
}

func TestNothingIsSparedForEver(t *testing.T) {
	b := NewBudget(10_000)
	var all []*Version
	for n := range 100 {
		all = append(all, stored(t, b, n))
		for _, v := range all {
			v.Object()
		}
	}
	if b.sum() > 10_000 {
		t.Errorf("the budget of 10000 bytes holds %d", b.sum())
	}
}

// TestReadersShareBudget has many readers make and lose memos at once.
func TestReadersShareBudget(t *testing.T) {
	b := NewBudget(20_000)
	all := make([]*Version, 50)
	for n := range all {
		all[n] = stored(t, b, n)
	}
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for range 20 {
				for _, v := range all {
					obj, err := v.Encode(Form{Encoding: storev1.Encoding_ENCODING_JSON})
					if err != nil || !strings.Contains(string(obj.GetJson()), `"name":"`+v.Name()+`"`) {
						t.Errorf("%s as JSON: %.100s, %v", v.Name(), obj.GetJson(), err)
						return
					}
					if v.Object().GetName() != v.Name() {
						t.Errorf("%s decoded is %s", v.Name(), v.Object().GetName())
						return
					}
				}
			}
		})
	}
	readers.Wait()
	if b.sum() > 20_000 {
		t.Errorf("the budget of 20000 bytes holds %d", b.sum())
	}
}

func TestLabelSet(t *testing.T) {
	set := newLabelSet(map[string]string{"c": "3", "a": "1", "b": ""})
	for key, want := range map[string]string{"a": "1", "b": "", "c": "3"} {
		if value, ok := set.Lookup(key); !ok || value != want || !set.Has(key) || set.Get(key) != want {
			t.Errorf("%s: %q, %v", key, value, ok)
		}
	}
	for _, key := range []string{"", "aa", "d"} {
		if set.Has(key) || newLabelSet(nil).Has(key) {
			t.Errorf("there is a label %q", key)
		}
	}
}

// TestWhatOtherKindsShowIsBounded reads Events as the other of their two kinds.
func TestWhatOtherKindsShowIsBounded(t *testing.T) {
	const limit = 200_000
	b := NewBudget(limit)
	event := &eventsv1.Event{}
	shown, err := kinds.Default().ForObject(event)
	if err != nil {
		t.Fatal(err)
	}
	kind, err := kinds.Default().ForObject(&corev1.Event{})
	if err != nil {
		t.Fatal(err)
	}
	held := 0
	var all []*Version
	for n := range 200 {
		draft, err := NewDraft(kind, fmt.Sprintf("/events/default/e-%d", n), &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("e-%d", n)}, Message: strings.Repeat("x", 1000),
		}, Envelope{})
		if err != nil {
			t.Fatal(err)
		}
		v := draft.At(int64(n + 1))
		b.adopt(v)
		view, err := v.As(shown)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := view.JSON(); err != nil {
			t.Fatal(err)
		}
		all = append(all, view)
	}
	for _, view := range all {
		if m := view.memo.Load(); m != nil {
			held += int(m.cost.Load())
		}
	}
	if held > limit || b.sum() > limit {
		t.Errorf("of a budget of %d bytes the views hold %d, and %d are counted", limit, held, b.sum())
	}
}
