package scheduler

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/telemetry"
	schedulerv1 "navarch.dev/navarch/proto/navarch/scheduler/v1"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/scheduler/schedtest"
	"navarch.dev/navarch/services/store/storetest"
)

// cluster is a Store and a Scheduler that runs on it.
type cluster struct {
	*client.Client
	t         *testing.T
	scheduler *Scheduler
	pods      *client.Informer[*corev1.Pod]
	events    *client.Informer[*corev1.Event]
	changed   chan struct{}
}

func start(t *testing.T, nodes ...*schedtest.NodeBuilder) *cluster {
	t.Helper()
	return startWith(t, telemetry.Discard("scheduler"), nodes...)
}

func startWith(t *testing.T, tel telemetry.Set, nodes ...*schedtest.NodeBuilder) *cluster {
	t.Helper()
	return startConfigured(t, tel, func(*Config) {}, nodes...)
}

func startConfigured(t *testing.T, tel telemetry.Set, configure func(*Config), nodes ...*schedtest.NodeBuilder) *cluster {
	t.Helper()
	return startOver(t, tel, configure, nil, nodes...)
}

// startOver starts a scheduler that knows some objects from the first.
func startOver(t *testing.T, tel telemetry.Set, configure func(*Config), objs []kinds.Object, nodes ...*schedtest.NodeBuilder) *cluster {
	t.Helper()
	ofStore := telemetry.Discard("store")
	ofStore.Traces = tel.Traces
	store := storetest.New(t, storetest.WithTelemetry(ofStore))
	c := &cluster{Client: store.Client(storetest.Admin()), t: t, changed: make(chan struct{}, 1)}
	for _, n := range nodes {
		c.create(n.Node())
	}
	for _, obj := range objs {
		c.create(obj)
	}
	config := DefaultConfig()
	config.LeaderElect = false
	config.InitialBackoff, config.MaxBackoff = 10*time.Millisecond, 50*time.Millisecond
	configure(&config)
	var err error
	if c.scheduler, err = New(config, tel, store.Conn(identity.Service(identity.Scheduler))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.scheduler.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	c.watch(ctx)
	<-c.scheduler.Ready()
	return c
}

func (c *cluster) watch(ctx context.Context) {
	c.t.Helper()
	informers := client.NewInformers(c.Client)
	var err error
	if c.pods, err = client.InformerFor[*corev1.Pod](informers, cache.Indexers{}); err != nil {
		c.t.Fatal(err)
	}
	if c.events, err = client.InformerFor[*corev1.Event](informers, cache.Indexers{}); err != nil {
		c.t.Fatal(err)
	}
	c.pods.AddHandler(client.Handler[*corev1.Pod]{OnAdd: func(*corev1.Pod) { c.kick() }, OnUpdate: func(_, _ *corev1.Pod) { c.kick() }, OnDelete: func(*corev1.Pod) { c.kick() }})
	c.events.AddHandler(client.Handler[*corev1.Event]{OnAdd: func(*corev1.Event) { c.kick() }, OnUpdate: func(_, _ *corev1.Event) { c.kick() }})
	if err := informers.Start(ctx); err != nil {
		c.t.Fatal(err)
	}
}

// kick has until look again.
func (c *cluster) kick() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *cluster) create(obj kinds.Object) {
	c.t.Helper()
	obj.SetUID("")
	wanted, _ := obj.DeepCopyObject().(*corev1.Node)
	if err := c.Create(c.t.Context(), obj); err != nil {
		c.t.Fatalf("create %s: %v", obj.GetName(), err)
	}
	if node, ok := obj.(*corev1.Node); ok {
		c.makeReady(node, wanted)
	}
}

// makeReady undoes what the Store does to new nodes: it drops their status and
// taints them as not ready.
func (c *cluster) makeReady(node, wanted *corev1.Node) {
	c.t.Helper()
	node.Status = wanted.Status
	if err := c.UpdateStatus(c.t.Context(), node); err != nil {
		c.t.Fatalf("write status of node %s: %v", node.Name, err)
	}
	node.Spec.Taints = wanted.Spec.Taints
	if err := c.Update(c.t.Context(), node); err != nil {
		c.t.Fatalf("take the taints off node %s: %v", node.Name, err)
	}
}

// until waits for what the watches will show.
func (c *cluster) until(what string, holds func() bool) {
	c.t.Helper()
	deadline := time.After(10 * time.Second)
	for !holds() {
		select {
		case <-c.changed:
		case <-deadline:
			for _, p := range c.pods.List() {
				c.t.Logf("pod %s on %q: %v", p.Name, p.Spec.NodeName, p.Status.Conditions)
			}
			for _, e := range c.events.List() {
				c.t.Logf("event %s %s: %s", e.InvolvedObject.Name, e.Reason, e.Message)
			}
			c.t.Fatalf("never: %s", what)
		}
	}
}

func (c *cluster) nodeOf(pod string) string {
	p, _ := c.pods.Get("default", pod)
	if p == nil {
		return ""
	}
	return p.Spec.NodeName
}

func (c *cluster) hasEvent(pod, reason, message string) bool {
	for _, e := range c.events.List() {
		if e.InvolvedObject.Name == pod && e.Reason == reason && e.Message == message {
			return true
		}
	}
	return false
}

// told says whether a pod has an event of some reason.
func (c *cluster) told(pod, reason string) bool {
	return slices.ContainsFunc(c.events.List(), func(e *corev1.Event) bool { return e.InvolvedObject.Name == pod && e.Reason == reason })
}

func TestPodIsPlacedAndItIsTold(t *testing.T) {
	c := start(t, schedtest.Node("n1"))
	c.create(schedtest.Pod("web").CPU("1").Pod())
	c.until("web is on n1", func() bool { return c.nodeOf("web") == "n1" })
	c.until("an event says so", func() bool {
		return c.hasEvent("web", "Scheduled", "Successfully assigned default/web to n1")
	})
	for _, e := range c.events.List() {
		if e.Source.Component != "default-scheduler" {
			t.Errorf("source %q", e.Source.Component)
		}
	}
}

func TestUnschedulablePodSaysWhyAndIsPlacedWhenRoomComes(t *testing.T) {
	c := start(t, schedtest.Node("n1"), schedtest.Node("n2").Taint("team", corev1.TaintEffectNoSchedule))
	c.create(schedtest.Pod("big").CPU("6").Pod())
	want := "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s)."
	c.until("the condition says why", func() bool {
		p, ok := c.pods.Get("default", "big")
		if !ok {
			return false
		}
		cond := scheduledCondition(p)
		return cond != nil && cond.Reason == corev1.PodReasonUnschedulable && strings.HasPrefix(cond.Message, want)
	})
	c.until("an event says why", func() bool {
		for _, e := range c.events.List() {
			if e.Reason == "FailedScheduling" && strings.HasPrefix(e.Message, want) && e.Type == corev1.EventTypeWarning {
				return true
			}
		}
		return false
	})
	c.create(schedtest.Node("n3").Allocatable(corev1.ResourceCPU, "8").Node())
	c.until("big is on n3", func() bool { return c.nodeOf("big") == "n3" })
}

func TestGatedPodWaitsForItsGates(t *testing.T) {
	c := start(t, schedtest.Node("n1"))
	pod := schedtest.Pod("gated").With(func(p *corev1.Pod) {
		p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/quota"}}
	}).Pod()
	c.create(pod)
	c.until("the condition says so", func() bool {
		p, ok := c.pods.Get("default", "gated")
		return ok && scheduledCondition(p) != nil && scheduledCondition(p).Reason == corev1.PodReasonSchedulingGated
	})
	current := &corev1.Pod{}
	current.Namespace, current.Name = "default", "gated"
	if err := c.RetryOnConflict(t.Context(), current, func() bool {
		current.Spec.SchedulingGates = nil
		return true
	}, c.Update); err != nil {
		t.Fatal(err)
	}
	c.until("gated is on n1", func() bool { return c.nodeOf("gated") == "n1" })
}

func TestManyPodsSpreadAndFillTheCluster(t *testing.T) {
	nodes := []*schedtest.NodeBuilder{schedtest.Node("n1"), schedtest.Node("n2"), schedtest.Node("n3")}
	c := start(t, nodes...)
	for i := range 24 { // 500m each: eight fill a node
		c.create(schedtest.Pod(fmt.Sprintf("p%d", i)).CPU("500m").Pod())
	}
	perNode := func() map[string]int {
		n := make(map[string]int)
		for _, p := range c.pods.List() {
			n[p.Spec.NodeName]++
		}
		return n
	}
	c.until("every node is full", func() bool {
		n := perNode()
		return n["n1"] == 8 && n["n2"] == 8 && n["n3"] == 8
	})
}

func TestPodsOfOthersAreLeftAlone(t *testing.T) {
	c := start(t, schedtest.Node("n1"))
	c.create(schedtest.Pod("theirs").With(func(p *corev1.Pod) { p.Spec.SchedulerName = "other" }).Pod())
	c.create(schedtest.Pod("ours").Pod())
	c.until("ours is placed", func() bool { return c.nodeOf("ours") == "n1" })
	if n := c.nodeOf("theirs"); n != "" {
		t.Errorf("theirs is on %s", n)
	}
}

func TestExplain(t *testing.T) {
	c := start(t, schedtest.Node("n1"), schedtest.Node("n2").Taint("team", corev1.TaintEffectNoSchedule))
	c.create(schedtest.Pod("web").CPU("1").Pod())
	c.until("web is on n1", func() bool { return c.nodeOf("web") == "n1" })
	c.until("it is told", func() bool { return len(c.events.List()) > 0 })
	sv := &service{scheduler: c.scheduler}
	resp, err := sv.Explain(t.Context(), &schedulerv1.ExplainRequest{Namespace: "default", Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	d := resp.GetDiagnosis()
	if d.GetNodeName() != "n1" || d.GetMessage() != "Successfully assigned default/web to n1" || len(resp.GetAttempts()) != 1 {
		t.Errorf("%v", resp)
	}
	for _, n := range d.GetNodes() {
		switch n.GetNodeName() {
		case "n1":
			if !n.GetFeasible() || n.GetTotalScore() == 0 || len(n.GetScores()) == 0 {
				t.Errorf("n1: %v", n)
			}
		case "n2":
			if n.GetFeasible() || n.GetRejections()[0].GetPlugin() != "TaintToleration" {
				t.Errorf("n2: %v", n)
			}
		}
	}
	if _, err := sv.Explain(t.Context(), &schedulerv1.ExplainRequest{Namespace: "default", Name: "none"}); !apierrors.IsNotFound(err) {
		t.Errorf("explaining no pod: %v", err)
	}
}

func TestSimulate(t *testing.T) {
	c := start(t, schedtest.Node("n1"), schedtest.Node("n2"))
	sv := &service{scheduler: c.scheduler}
	pod, err := kinds.Encode(schedtest.Pod("maybe").CPU("64").Pod())
	if err != nil {
		t.Fatal(err)
	}
	resp, err := sv.Simulate(t.Context(), &schedulerv1.SimulateRequest{Pod: &storev1.Object{Object: pod}})
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.GetDiagnosis().GetMessage(); got != "0/2 nodes are available: 2 Insufficient cpu." {
		t.Error(got)
	}
	if _, err := sv.Simulate(t.Context(), &schedulerv1.SimulateRequest{}); !apierrors.IsBadRequest(err) {
		t.Errorf("simulating nothing: %v", err)
	}
}

func TestImportantPodPreempts(t *testing.T) {
	c := start(t, schedtest.Node("n1"), schedtest.Node("n2"))
	for _, class := range []struct {
		name  string
		value int32
	}{{"low", 1}, {"lower", 0}, {"high", 100}} {
		c.create(&schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: class.name}, Value: class.value})
	}
	withClass := func(name string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.PriorityClassName = name }
	}
	c.create(schedtest.Pod("a").CPU("3").With(withClass("low")).Pod())
	c.create(schedtest.Pod("b").CPU("3").With(withClass("lower")).Pod())
	c.until("both are placed", func() bool { return c.nodeOf("a") != "" && c.nodeOf("b") != "" })
	want := c.nodeOf("b")
	c.create(schedtest.Pod("important").CPU("3").With(withClass("high")).Pod())
	c.until("b was told", func() bool { return c.told("b", "Preempted") })
	c.until("important has b's place", func() bool {
		c.endTerminating()
		return c.nodeOf("important") == want
	})
	if c.nodeOf("a") == "" {
		t.Error("a is gone too")
	}
}

// Room that is made for a pod stays the pod's until all of its victims are gone,
// whoever comes meanwhile and would fit into what is free already.
func TestNominatedPodKeepsItsRoom(t *testing.T) {
	c := start(t, schedtest.Node("n1"))
	c.create(&schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "high"}, Value: 100})
	for _, name := range []string{"a", "b"} {
		c.create(schedtest.Pod(name).CPU("2").Pod())
		c.until(name+" is placed", func() bool { return c.nodeOf(name) == "n1" })
	}
	c.create(schedtest.Pod("important").CPU("4").With(func(p *corev1.Pod) { p.Spec.PriorityClassName = "high" }).Pod())
	c.until("both are to go", func() bool { return c.told("a", "Preempted") && c.told("b", "Preempted") })
	c.until("important has tried again", func() bool {
		c.endTerminating("a")
		return c.hasEvent("important", "FailedScheduling", "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to a terminating pod on the nominated node.")
	})
	c.create(schedtest.Pod("late").CPU("2").Pod())
	c.until("late was tried", func() bool { return c.told("late", "FailedScheduling") || c.nodeOf("late") != "" })
	if node := c.nodeOf("late"); node != "" {
		t.Fatalf("late has taken the room on %s that was made for another", node)
	}
	c.until("important has the room", func() bool {
		c.endTerminating("b")
		return c.nodeOf("important") == "n1"
	})
}

// Pods that are told of the same node each get room of their own there.
func TestPreemptorsDoNotShareVictims(t *testing.T) {
	c := start(t, schedtest.Node("n1"))
	c.create(&schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "high"}, Value: 100})
	for i := range 4 {
		name := fmt.Sprintf("low-%d", i)
		c.create(schedtest.Pod(name).CPU("1").Pod())
		c.until(name+" is placed", func() bool { return c.nodeOf(name) == "n1" })
	}
	for i := range 4 {
		c.create(schedtest.Pod(fmt.Sprintf("high-%d", i)).CPU("1").With(func(p *corev1.Pod) { p.Spec.PriorityClassName = "high" }).Pod())
	}
	c.until("all important pods have room", func() bool {
		c.endTerminating()
		return c.nodeOf("high-0") != "" && c.nodeOf("high-1") != "" && c.nodeOf("high-2") != "" && c.nodeOf("high-3") != ""
	})
}

// Who makes room on a node where room is being made for a less important pod takes
// that over. The other one is told at once, and looks elsewhere.
func TestDisplacedPodLooksElsewhere(t *testing.T) {
	c := start(t, schedtest.Node("n1"))
	for name, value := range map[string]int32{"middle": 50, "high": 100} {
		c.create(&schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value})
	}
	of := func(class string) *corev1.Pod {
		return schedtest.Pod(class).CPU("3").With(func(p *corev1.Pod) { p.Spec.PriorityClassName = class }).Pod()
	}
	nominated := func(pod string) string {
		p, _ := c.pods.Get("default", pod)
		if p == nil {
			return "not known yet"
		}
		return p.Status.NominatedNodeName
	}
	c.create(schedtest.Pod("low").CPU("3").Pod())
	c.until("low is placed", func() bool { return c.nodeOf("low") == "n1" })
	c.create(of("middle"))
	c.until("room is being made for middle", func() bool { return nominated("middle") == "n1" })
	c.create(of("high"))
	c.until("the room is high's", func() bool { return nominated("high") == "n1" && nominated("middle") == "" })
	c.until("middle has looked for another place", func() bool {
		return c.hasEvent("middle", "FailedScheduling", "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Insufficient cpu.")
	})
	c.until("high has the room", func() bool {
		c.endTerminating()
		return c.nodeOf("high") == "n1"
	})
	if node := nominated("middle"); node != "" || c.nodeOf("middle") != "" {
		t.Errorf("middle is nominated to %q", node)
	}
}

// Room that is kept for a pod which goes, or comes to be elsewhere, is others' again.
func TestRoomOfAPodThatNeedsItNoMoreIsFree(t *testing.T) {
	for name, leave := range map[string]func(*cluster, *corev1.Pod){
		"it is deleted": func(c *cluster, p *corev1.Pod) {
			now := int64(0)
			if err := c.Delete(c.t.Context(), p, client.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
				c.t.Fatal(err)
			}
		},
		"somebody else binds it to another node": func(c *cluster, p *corev1.Pod) {
			c.create(schedtest.Node("n2").Taint("other", corev1.TaintEffectNoSchedule).Node())
			if err := c.CreateSubresource(c.t.Context(), p, "binding", &corev1.Binding{
				ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: "n2"},
			}); err != nil {
				c.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, schedtest.Node("n1"))
			c.create(&schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "high"}, Value: 100})
			for _, name := range []string{"a", "b"} {
				c.create(schedtest.Pod(name).CPU("2").Pod())
				c.until(name+" is placed", func() bool { return c.nodeOf(name) == "n1" })
			}
			important := schedtest.Pod("important").CPU("4").With(func(p *corev1.Pod) { p.Spec.PriorityClassName = "high" }).Pod()
			c.create(important)
			c.until("room is being made", func() bool { return c.told("a", "Preempted") && c.told("b", "Preempted") })
			c.until("important is nominated", func() bool {
				p, _ := c.pods.Get("default", "important")
				return p != nil && p.Status.NominatedNodeName == "n1"
			})
			c.endTerminating("a")
			c.create(schedtest.Pod("late").CPU("2").Pod())
			c.until("late was tried", func() bool { return c.told("late", "FailedScheduling") })
			leave(c, important)
			c.until("late has the room", func() bool { return c.nodeOf("late") == "n1" })
		})
	}
}

// endTerminating does what agents do with pods that are being deleted: all of
// them, or those of some names.
func (c *cluster) endTerminating(names ...string) {
	c.t.Helper()
	now := int64(0)
	for _, p := range c.pods.List() {
		if p.DeletionTimestamp == nil || len(names) > 0 && !slices.Contains(names, p.Name) {
			continue
		}
		if err := c.Delete(c.t.Context(), p.DeepCopy(), client.DeleteOptions{GracePeriodSeconds: &now}); err != nil && !apierrors.IsNotFound(err) {
			c.t.Fatal(err)
		}
	}
}

func TestReplicasKeepApart(t *testing.T) {
	c := start(t, schedtest.Node("n1"), schedtest.Node("n2"))
	apart := func(p *corev1.Pod) {
		p.Labels = map[string]string{"app": "db"}
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
				TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}},
			}},
		}}
	}
	for i := range 3 {
		c.create(schedtest.Pod(fmt.Sprintf("db-%d", i)).With(apart).Pod())
	}
	want := "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules."
	c.until("one of three is told why", func() bool {
		for _, e := range c.events.List() {
			if e.Reason == "FailedScheduling" && strings.HasPrefix(e.Message, want) {
				return true
			}
		}
		return false
	})
	c.create(schedtest.Node("n3").Node())
	c.until("each has a node of its own", func() bool {
		on := map[string]bool{c.nodeOf("db-0"): true, c.nodeOf("db-1"): true, c.nodeOf("db-2"): true}
		return len(on) == 3 && !on[""]
	})
}
