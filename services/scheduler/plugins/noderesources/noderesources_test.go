package noderesources

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
)

func TestFilter(t *testing.T) {
	node := func() *schedtest.NodeBuilder { // 4 CPUs, 8Gi, 110 pods
		return schedtest.Node("n").Allocatable("example.com/gpu", "2")
	}
	full := node().Allocatable("pods", "1").Pods(schedtest.Pod("a"))
	busy := node().Pods(schedtest.Pod("a").CPU("3").Memory("6Gi").Request("example.com/gpu", "1"))
	for _, tt := range []struct {
		name string
		pod  *schedtest.PodBuilder
		node *schedtest.NodeBuilder
		code framework.Code
		want []string
	}{
		{"fits exactly", schedtest.Pod("p").CPU("1").Memory("2Gi").Request("example.com/gpu", "1"), busy, framework.Success, nil},
		{"no cpu left", schedtest.Pod("p").CPU("1001m"), busy, framework.Unschedulable, []string{"Insufficient cpu"}},
		{"cpu that no pod's end could give", schedtest.Pod("p").CPU("5"), busy, framework.UnschedulableAndUnresolvable, []string{"Insufficient cpu"}},
		{"nothing left", schedtest.Pod("p").CPU("2").Memory("3Gi"), busy, framework.Unschedulable, []string{"Insufficient cpu", "Insufficient memory"}},
		{"extended resource", schedtest.Pod("p").Request("example.com/gpu", "2"), busy, framework.Unschedulable, []string{"Insufficient example.com/gpu"}},
		{"unknown resource", schedtest.Pod("p").Request("example.com/fpga", "1"), node(), framework.UnschedulableAndUnresolvable, []string{"Insufficient example.com/fpga"}},
		{"storage", schedtest.Pod("p").Request("ephemeral-storage", "1Gi"), node(), framework.UnschedulableAndUnresolvable, []string{"Insufficient ephemeral-storage"}},
		{"too many pods", schedtest.Pod("p"), full, framework.Unschedulable, []string{TooManyPods}},
		{"asks for nothing", schedtest.Pod("p"), busy, framework.Success, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := New(DefaultArgs(), nil, nil).Filter(t.Context(), nil, tt.pod.Info(), tt.node.Info())
			if s.Code() != tt.code {
				t.Errorf("%v, not %v", s.Code(), tt.code)
			}
			if diff := cmp.Diff(tt.want, s.Reasons()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Where devices stand for a resource, what a node has of it counts if it has any.
func TestResourcesThatDevicesStandFor(t *testing.T) {
	p := New(DefaultArgs(), func(name corev1.ResourceName) bool { return name == "example.com/gpu" }, nil)
	pod := schedtest.Pod("p").Request("example.com/gpu", "2").Info()
	for _, tt := range []struct {
		name string
		node *schedtest.NodeBuilder
		want bool
	}{
		{"the node has none", schedtest.Node("n"), true},
		{"the node has enough", schedtest.Node("n").Allocatable("example.com/gpu", "2"), true},
		{"the node has too few", schedtest.Node("n").Allocatable("example.com/gpu", "1"), false},
	} {
		if s := p.Filter(t.Context(), nil, pod, tt.node.Info()); s.Success() != tt.want {
			t.Errorf("%s: %v", tt.name, s)
		}
	}
	if s := p.Filter(t.Context(), nil, schedtest.Pod("q").Request("example.com/nic", "1").Info(), schedtest.Node("n").Info()); s.Success() {
		t.Error("no devices stand for the other resource")
	}
	class := func(name string) *resourcev1.DeviceClass {
		return &resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Spec: resourcev1.DeviceClassSpec{ExtendedResourceName: &name}}
	}
	for _, tt := range []struct {
		name  string
		event framework.Event
		want  bool
	}{
		{"a class for it", framework.Event{Resource: framework.DeviceClass, Action: framework.Add, New: class("example.com/gpu")}, true},
		{"a class for another", framework.Event{Resource: framework.DeviceClass, Action: framework.Add, New: class("example.com/nic")}, false},
		{"a class becomes one for it", framework.Event{Resource: framework.DeviceClass, Action: framework.Update, Old: class("example.com/nic"), New: class("example.com/gpu")}, true},
		{"a class stays one for it", framework.Event{Resource: framework.DeviceClass, Action: framework.Update, Old: class("example.com/gpu"), New: class("example.com/gpu")}, false},
		{"a node without it", framework.Event{Resource: framework.Node, Action: framework.Add, New: schedtest.Node("n").Node()}, true},
	} {
		got := false
		for _, hint := range p.EventsToRegister() {
			got = got || hint.Covers(pod, tt.event)
		}
		if got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestIgnoredResources(t *testing.T) {
	args := DefaultArgs()
	args.IgnoredResources, args.IgnoredResourceGroups = []string{"example.com/one", "cpu"}, []string{"elsewhere.com"}
	p := New(args, nil, nil)
	for _, tt := range []struct {
		resource corev1.ResourceName
		want     string
	}{
		{"example.com/one", ""},
		{"example.com/two", "Insufficient example.com/two"},
		{"elsewhere.com/any", ""},
		{"cpu", "Insufficient cpu"}, // extended ones only
	} {
		pod, node := schedtest.Pod("p").Request(tt.resource, "5").Info(), schedtest.Node("n")
		if s := p.Filter(t.Context(), nil, pod, node.Info()); s.Message() != tt.want {
			t.Errorf("%s: %q", tt.resource, s.Message())
		}
		helps := p.couldFit(pod, framework.Event{Resource: framework.Node, Action: framework.Add, New: node.Node()})
		if helps != (tt.want == "") {
			t.Errorf("%s: the node's coming helps: %v", tt.resource, helps)
		}
	}
}
