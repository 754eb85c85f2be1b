package interning_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/randfill"

	"navarch.dev/navarch/internal/client/interning"
	"navarch.dev/navarch/internal/testseed"
)

// podOf returns a pod of a template, as it is decoded.
func podOf(t testing.TB, template, n int) *corev1.Pod {
	t.Helper()
	few := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("64Mi")}
	started := metav1.Unix(int64(n), 0)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: fmt.Sprintf("web-%d-%d", template, n), Labels: map[string]string{"app": fmt.Sprint(template)},
			OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: fmt.Sprint(template), Controller: ptr.To(true)}},
		},
		Spec: corev1.PodSpec{
			NodeName: fmt.Sprintf("node-%d", n%7), Priority: ptr.To[int32](0), TerminationGracePeriodSeconds: ptr.To[int64](30),
			Containers:  []corev1.Container{{Name: "c", Image: fmt.Sprint(template), Resources: corev1.ResourceRequirements{Requests: few, Limits: few}}},
			Volumes:     []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
			Tolerations: []corev1.Toleration{{Key: "x", Operator: corev1.TolerationOpExists, TolerationSeconds: ptr.To[int64](300)}},
		},
		Status: corev1.PodStatus{
			PodIP: fmt.Sprintf("10.0.0.%d", n), PodIPs: []corev1.PodIP{{IP: fmt.Sprintf("10.0.0.%d", n)}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: started}},
			ContainerStatuses: []corev1.ContainerStatus{{
				Name: "c", ContainerID: fmt.Sprintf("runc://%064d", n), AllocatedResources: few, Resources: &corev1.ResourceRequirements{Requests: few},
				State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: started}},
			}},
		},
	}
	return decoded(t, pod)
}

// decoded returns an object as it comes out of its encoding.
func decoded(t testing.TB, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	encoded, err := pod.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	out := new(corev1.Pod)
	if err := out.Unmarshal(encoded); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPodsOfATemplateShareIt(t *testing.T) {
	var pool interning.Pool
	a, b, other := podOf(t, 1, 1), podOf(t, 1, 2), podOf(t, 2, 3)
	for _, p := range []*corev1.Pod{a, b, other} {
		pool.Share(p)
	}
	if &a.Spec.Containers[0] != &b.Spec.Containers[0] || &a.Spec.Volumes[0] != &b.Spec.Volumes[0] || &a.OwnerReferences[0] != &b.OwnerReferences[0] ||
		a.Spec.Priority != b.Spec.Priority || a.Status.ContainerStatuses[0].Resources != b.Status.ContainerStatuses[0].Resources {
		t.Error("two pods of one template hold it twice")
	}
	if &a.Spec.Containers[0] == &other.Spec.Containers[0] || &a.Spec.Tolerations[0] != &other.Spec.Tolerations[0] {
		t.Error("two pods of different templates share what differs, or not what they have in common")
	}
	for pod, want := range map[*corev1.Pod]*corev1.Pod{a: podOf(t, 1, 1), b: podOf(t, 1, 2), other: podOf(t, 2, 3)} {
		if diff := cmp.Diff(want, pod); diff != "" {
			t.Errorf("pod %s (-want +got):\n%s", pod.Name, diff)
		}
	}
	copied := a.DeepCopy()
	copied.Labels["app"], copied.Spec.Containers[0].Image = "changed", "changed"
	if b.Labels["app"] != "1" || b.Spec.Containers[0].Image != "1" {
		t.Error("a change of a pod's copy shows in another pod")
	}
}

// A pod that shares is still the same pod: whatever is in it, however many the
// pool has seen and forgotten.
func TestPodsStayTheSame(t *testing.T) {
	var pool interning.Pool
	seed := testseed.Of(t)
	rnd := rand.New(rand.NewPCG(seed, 0))
	fill := randfill.NewWithSeed(int64(seed)).NilChance(.3).NumElements(0, 3).Funcs(
		func(q *resource.Quantity, c randfill.Continue) {
			*q = *resource.NewMilliQuantity(c.Int63n(1e6), resource.DecimalSI)
		},
		func(m *metav1.Time, c randfill.Continue) { *m = metav1.Unix(c.Int63n(1e9), 0) },
		func(m *metav1.FieldsV1, c randfill.Continue) { m.SetRawBytes([]byte(`{}`)) },
	)
	var seen []*corev1.Pod
	for range testseed.Times(t, 40) {
		pod := new(corev1.Pod)
		fill.Fill(pod)
		if len(seen) > 0 && rnd.IntN(2) == 0 { // one that has much in common with another
			spec := seen[rnd.IntN(len(seen))].Spec.DeepCopy()
			spec.NodeName, pod.Spec = pod.Spec.NodeName, *spec
		}
		pod = decoded(t, pod)
		want := pod.DeepCopy()
		if rnd.IntN(2) == 0 {
			pool.Share(pod)
		} else {
			pod = decodedBy(t, &pool, pod)
		}
		if diff := cmp.Diff(want, pod); diff != "" {
			t.Fatalf("a pod that shares (-want +got):\n%s", diff)
		}
		seen = append(seen, pod)
	}
	wanted := make([]*corev1.Pod, len(seen))
	for i, pod := range seen {
		wanted[i] = decoded(t, pod)
	}
	if diff := cmp.Diff(wanted, seen); diff != "" {
		t.Errorf("pods after others have shared with them (-want +got):\n%s", diff)
	}
}

func TestPoolsForget(t *testing.T) {
	var pool interning.Pool
	text := func(n int) map[string]string { return map[string]string{"text": fmt.Sprintf("%01000d", n)} }
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for n := range 30_000 { // 30 MB
		pool.Share(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Annotations: text(n)}})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 20<<20 {
		t.Errorf("a pool that has seen 30 MB of which nothing was in common holds %d bytes", grown)
	}
	runtime.KeepAlive(&pool)
}

func TestPoolsAreSharedByGoroutines(t *testing.T) {
	var pool interning.Pool
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for n := range 200 {
				pool.Share(podOf(t, n%3, n))
				decodedBy(t, &pool, podOf(t, n%3, n))
			}
		})
	}
	wg.Wait()
}

// BenchmarkHeld says how much memory a pod takes that shares.
func BenchmarkHeld(b *testing.B) {
	for name, share := range map[string]func(*corev1.Pod){"alone": func(*corev1.Pod) {}, "shared": func() func(*corev1.Pod) {
		pool := new(interning.Pool)
		return func(pod *corev1.Pod) { pool.Share(pod) }
	}()} {
		b.Run(name, func(b *testing.B) {
			const pods = 10_000
			var before, after runtime.MemStats
			for range b.N {
				runtime.GC()
				runtime.ReadMemStats(&before)
				all := make([]*corev1.Pod, pods)
				for n := range all {
					all[n] = podOf(b, n/1000, n)
					share(all[n])
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
				runtime.KeepAlive(all)
			}
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/pods, "B/pod")
		})
	}
}
