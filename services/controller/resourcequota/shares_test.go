package resourcequota

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/quota"
)

func hard(names ...corev1.ResourceName) corev1.ResourceList {
	list := corev1.ResourceList{}
	for _, name := range names {
		list[name] = resource.MustParse("1G")
	}
	return list
}

func asking(cpu string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse("1Mi")},
	}}}}}
	for _, f := range change {
		f(p)
	}
	return p
}

func podKind(t testing.TB) *kinds.Kind {
	t.Helper()
	kind, err := kinds.Default().ForObject(&corev1.Pod{})
	if err != nil {
		t.Fatal(err)
	}
	return kind
}

// counted counts pods anew, with what is known of them.
func counted(t testing.TB, r *reconciler, q *corev1.ResourceQuota, pods []*corev1.Pod, copied bool) map[corev1.ResourceName]string {
	t.Helper()
	kind := podKind(t)
	c := count{used: corev1.ResourceList{}}
	r.addPods(&c, q, kind, quota.Names(kind, q.Spec.Hard), pods, copied)
	used := map[corev1.ResourceName]string{}
	for name, amount := range c.used {
		used[name] = amount.String()
	}
	return used
}

// What is known of pods is right as long as they and the quota are what they were.
func TestSharesOfPods(t *testing.T) {
	r := &reconciler{}
	q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: hard("pods", "requests.cpu")}}
	deadline := func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr.To[int64](60) }
	overdue := func(p *corev1.Pod) {
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = ptr.To(metav1.NewTime(time.Now().Add(-time.Hour))), ptr.To[int64](30)
	}
	pods := []*corev1.Pod{asking("1"), asking("2", deadline), asking("4", overdue)}
	for _, step := range []struct {
		name   string
		change func()
		copied bool
		want   map[corev1.ResourceName]string
	}{
		{"at first", func() {}, true, map[corev1.ResourceName]string{"pods": "2", "requests.cpu": "3"}},
		{"again", func() {}, true, map[corev1.ResourceName]string{"pods": "2", "requests.cpu": "3"}},
		{"a pod that was resized", func() { pods[0] = asking("500m") }, true, map[corev1.ResourceName]string{"pods": "2", "requests.cpu": "2500m"}},
		{"pods of a list", func() { pods = []*corev1.Pod{asking("8")} }, false, map[corev1.ResourceName]string{"pods": "1", "requests.cpu": "8"}},
		{"another resource", func() { q.Spec.Hard = hard("pods", "requests.memory") }, true, map[corev1.ResourceName]string{"pods": "1", "requests.memory": "1Mi"}},
		{"a scope", func() { q.Spec.Scopes = []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeTerminating} }, true, map[corev1.ResourceName]string{"pods": "0", "requests.memory": "0"}},
	} {
		step.change()
		if diff := cmp.Diff(step.want, counted(t, r, q, pods, step.copied)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
	}
	if n := len(r.shares.of(q)); n != 1 {
		t.Errorf("%d pods are known, want the one that there is", n)
	}
	if r.shares.forget("default/q"); r.shares.of(q) != nil {
		t.Error("a quota that is gone is not forgotten")
	}
}

// BenchmarkCount counts a namespace's pods again, of which none has changed.
func BenchmarkCount(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprintf("of %d", n), func(b *testing.B) {
			r := &reconciler{}
			q := &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: hard("pods", "requests.cpu", "requests.memory")}}
			pods := make([]*corev1.Pod, n)
			for i := range pods {
				pods[i] = asking("100m")
			}
			for b.Loop() {
				counted(b, r, q, pods, true)
			}
		})
	}
}
