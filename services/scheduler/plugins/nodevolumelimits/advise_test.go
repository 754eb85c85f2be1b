package nodevolumelimits

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
)

func TestAdvise(t *testing.T) {
	limit := func(n int32) metav1.Object { return csiNode(map[string]int32{driver: n}) }
	needed := &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: driver}, Spec: storagev1.CSIDriverSpec{PreventPodSchedulingIfMissing: ptr.To(true)}}
	x, y := func() *schedtest.PodBuilder { return schedtest.Pod("x").Claims("b") }, func() *schedtest.PodBuilder { return schedtest.Pod("y").Claims("b", "c") }
	const full = "the node has 2 of 2 volumes of driver disk.example.com in use, 1 more is needed"
	for _, tt := range []struct {
		name    string
		objects []metav1.Object
		there   []*schedtest.PodBuilder
		pod     []string // claims of the pod
		detail  string
		want    []string
	}{
		{"fits", []metav1.Object{limit(3)}, []*schedtest.PodBuilder{y()}, []string{"a"}, "", nil},
		{"one volume of one pod would do", []metav1.Object{limit(2)}, []*schedtest.PodBuilder{x(), y()}, []string{"a"}, full, []string{"evict default/y"}},
		{"a volume of two pods", []metav1.Object{limit(1)}, []*schedtest.PodBuilder{x(), x().With(func(p *corev1.Pod) { p.Name, p.UID = "z", "z" })}, []string{"a"},
			"the node has 1 of 1 volumes of driver disk.example.com in use, 1 more is needed", []string{"evict default/x, default/z"}},
		{"a pod is going", []metav1.Object{limit(2)}, []*schedtest.PodBuilder{y().With(func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} })}, []string{"a"}, full,
			[]string{"wait for the end of default/y"}},
		{"attached still", []metav1.Object{limit(2), attachment("b", "b"), attachment("c", "c")}, []*schedtest.PodBuilder{y()}, []string{"a"}, full, []string{"evict default/y"}},
		{"attached for nobody", []metav1.Object{limit(1), attachment("b", "b")}, nil, []string{"a"}, "the node has 1 of 1 volumes of driver disk.example.com in use, 1 more is needed", nil},
		{"one would do", []metav1.Object{limit(2)}, []*schedtest.PodBuilder{x()}, []string{"a", "new"},
			"the node has 1 of 2 volumes of driver disk.example.com in use, 2 more are needed", []string{"evict default/x", "use new volumes, at most 1 of driver disk.example.com"}},
		{"no driver", []metav1.Object{needed}, nil, []string{"a"}, "the node has no driver disk.example.com", []string{"install driver disk.example.com on the node"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, state := New(world(tt.objects...)), &framework.CycleState{}
			pod, node := schedtest.Pod("p").Claims(tt.pod...).Info(), schedtest.Node("n").Pods(tt.there...).Info()
			p.PreFilter(t.Context(), state, pod, nil)
			got := p.Advise(t.Context(), state, pod, node)
			var texts []string
			for _, r := range got.Remedies {
				texts = append(texts, r.Description)
			}
			if diff := cmp.Diff(tt.want, texts); diff != "" || got.Detail != tt.detail {
				t.Errorf("%q %s", got.Detail, diff)
			}
		})
	}
}
