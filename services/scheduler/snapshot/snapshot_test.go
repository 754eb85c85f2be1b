package snapshot_test

import (
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"navarch.dev/navarch/services/scheduler/schedtest"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

func newCache() *snapshot.Cache {
	return snapshot.NewCache(time.Minute, slog.New(slog.DiscardHandler))
}

func names(s *snapshot.Snapshot) []string {
	var out []string
	for _, n := range s.Nodes() {
		out = append(out, n.Name())
	}
	return out
}

func TestRefreshTakesOnlyWhatChanged(t *testing.T) {
	c := newCache()
	for i := range 5 {
		c.SetNode(schedtest.Node(fmt.Sprint("n", i)).Node())
	}
	var s snapshot.Snapshot
	if _, all := s.Refresh(c); !all {
		t.Error("the first view is not all new")
	}
	before := s.Nodes()[3]
	c.SetPod(schedtest.Pod("a").CPU("1").Node("n3").Pod())
	if got := before.Requested.MilliCPU; got != 0 {
		t.Errorf("a view changed by itself: %d", got)
	}
	changed, all := s.Refresh(c)
	if all || !cmp.Equal(changed, []int{3}) {
		t.Errorf("changed %v, all %v", changed, all)
	}
	if got := s.Get("n3").Requested.MilliCPU; got != 1000 {
		t.Errorf("requested %d", got)
	}
	if changed, all = s.Refresh(c); all || len(changed) != 0 {
		t.Errorf("without a change: %v, %v", changed, all)
	}
	var other snapshot.Snapshot // views do not share what they have seen
	other.Refresh(c)
	c.RemovePod("a")
	s.Refresh(c)
	if s.Get("n3").Requested.MilliCPU != 0 || other.Get("n3").Requested.MilliCPU != 1000 {
		t.Error("one view's refresh changed the other")
	}
}

func TestZonesTakeTurns(t *testing.T) {
	c := newCache()
	for _, n := range []struct{ name, zone string }{{"a1", "a"}, {"a2", "a"}, {"a3", "a"}, {"b1", "b"}} {
		c.SetNode(schedtest.Node(n.name).Label(corev1.LabelTopologyZone, n.zone).Node())
	}
	var s snapshot.Snapshot
	s.Refresh(c)
	if diff := cmp.Diff([]string{"a1", "b1", "a2", "a3"}, names(&s)); diff != "" {
		t.Error(diff)
	}
}

func TestNodesComeAndGo(t *testing.T) {
	c := newCache()
	c.SetPod(schedtest.Pod("early").CPU("1").Node("n1").Pod())
	var s snapshot.Snapshot
	s.Refresh(c)
	if len(s.Nodes()) != 0 {
		t.Errorf("nodes %v before any is known", names(&s))
	}
	c.SetNode(schedtest.Node("n1").Image("img:1", 5).Node())
	s.Refresh(c)
	if n := s.Get("n1"); n == nil || n.Requested.MilliCPU != 1000 || s.NodesWithImage("img:1") != 1 {
		t.Errorf("n1 is %+v", n)
	}
	c.RemoveNode("n1")
	s.Refresh(c)
	if len(s.Nodes()) != 0 || s.NodesWithImage("img:1") != 0 {
		t.Errorf("nodes %v, %d with the image", names(&s), s.NodesWithImage("img:1"))
	}
	c.SetNode(schedtest.Node("n1").Node())
	s.Refresh(c)
	if s.Get("n1").Requested.MilliCPU != 1000 {
		t.Error("the pod that outlived its node is lost")
	}
}

func TestAssumedPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache()
		var s snapshot.Snapshot
		used := func() int64 {
			s.Refresh(c)
			return s.Get("n1").Requested.MilliCPU
		}
		c.SetNode(schedtest.Node("n1").Node())
		if err := c.Assume(schedtest.Pod("p").CPU("1").Info(), "n1"); err != nil {
			t.Fatal(err)
		}
		if err := c.Assume(schedtest.Pod("p").Info(), "n1"); err == nil {
			t.Error("assumed twice")
		}
		if used() != 1000 {
			t.Error("an assumed pod takes no room")
		}
		c.Forget("p")
		if used() != 0 {
			t.Error("a forgotten pod takes room")
		}
		time.Sleep(time.Hour) // without a stored binding nothing expires
		if err := c.Assume(schedtest.Pod("p").CPU("1").Info(), "n1"); err != nil {
			t.Fatal(err)
		}
		c.Bound("p")
		c.SetPod(schedtest.Pod("p").CPU("1").Node("n1").Pod())
		c.Forget("p") // too late: the informer has shown it
		if used() != 1000 || c.IsAssumed("p") {
			t.Error("a confirmed pod was forgotten")
		}
		if err := c.Assume(schedtest.Pod("lost").CPU("2").Info(), "n1"); err != nil {
			t.Fatal(err)
		}
		c.Bound("lost")
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if used() != 3000 {
			t.Error("expired early")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if used() != 1000 {
			t.Error("a binding that never showed has not expired")
		}
	})
}

func TestPodRequests(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	with := func(cpu string) corev1.Container {
		return schedtest.Pod("x").CPU(cpu).Pod().Spec.Containers[0]
	}
	for _, tt := range []struct {
		name string
		pod  *schedtest.PodBuilder
		want int64
	}{
		{"container", schedtest.Pod("p").CPU("500m"), 500},
		{"larger init container", schedtest.Pod("p").CPU("500m").With(func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{with("2")}
		}), 2000},
		{"sidecar adds up", schedtest.Pod("p").CPU("500m").With(func(p *corev1.Pod) {
			s := with("250m")
			s.RestartPolicy = &always
			p.Spec.InitContainers = []corev1.Container{s}
		}), 750},
		{"overhead", schedtest.Pod("p").CPU("500m").With(func(p *corev1.Pod) {
			p.Spec.Overhead = with("100m").Resources.Requests
		}), 600},
	} {
		if got := tt.pod.Info().Requests.MilliCPU; got != tt.want {
			t.Errorf("%s: %d, not %d", tt.name, got, tt.want)
		}
	}
}

// While a pod is resized it takes what it was given, what it has or what it
// asks for, whichever is most; what its node cannot give it does not count.
func TestRequestsOfResizedPods(t *testing.T) {
	cpu := func(amount string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(amount)}
	}
	for _, test := range []struct {
		name, asked, given, has string
		condition               corev1.PodCondition
		want                    int64
	}{
		{"grows", "3", "1", "1", corev1.PodCondition{Type: corev1.PodResizePending, Reason: corev1.PodReasonDeferred}, 3000},
		{"is given less", "1", "1", "2", corev1.PodCondition{Type: corev1.PodResizeInProgress}, 2000},
		{"is given more", "1", "2", "1", corev1.PodCondition{Type: corev1.PodResizeInProgress}, 2000},
		{"cannot grow", "3", "1", "1", corev1.PodCondition{Type: corev1.PodResizePending, Reason: corev1.PodReasonInfeasible}, 1000},
	} {
		pod := schedtest.Pod("p").CPU(test.asked).Node("n").Pod()
		pod.Status.Conditions = []corev1.PodCondition{test.condition}
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name: pod.Spec.Containers[0].Name, AllocatedResources: cpu(test.given), Resources: &corev1.ResourceRequirements{Requests: cpu(test.has)},
		}}
		if got := snapshot.NewPodInfo(pod).Requests.MilliCPU; got != test.want {
			t.Errorf("%s: requests %d, want %d", test.name, got, test.want)
		}
	}
}

func TestSignature(t *testing.T) {
	sign := func(b *schedtest.PodBuilder) string {
		s, err := b.Info().Signature()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	base := sign(schedtest.Pod("a").CPU("1").Label("x", "1").Label("y", "2"))
	if base != sign(schedtest.Pod("b").Label("y", "2").Label("x", "1").CPU("1")) {
		t.Error("two pods of one template differ")
	}
	for name, other := range map[string]*schedtest.PodBuilder{
		"request": schedtest.Pod("b").CPU("2").Label("x", "1").Label("y", "2"),
		"label":   schedtest.Pod("b").CPU("1").Label("x", "2").Label("y", "2"),
		"image of a volume": schedtest.Pod("b").CPU("1").Label("x", "1").Label("y", "2").With(func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "i"}}}}
		}),
		"toleration": schedtest.Pod("b").CPU("1").Label("x", "1").Label("y", "2").With(func(p *corev1.Pod) { p.Spec.Tolerations = []corev1.Toleration{{Key: "k"}} }),
	} {
		if base == sign(other) {
			t.Errorf("another %s makes no difference", name)
		}
	}
}
