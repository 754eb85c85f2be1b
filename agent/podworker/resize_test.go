package podworker

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/internal/client"
)

// amounts makes a list of CPU and memory; "" leaves one out.
func amounts(cpu, memory string) corev1.ResourceList {
	list := corev1.ResourceList{}
	if cpu != "" {
		list[corev1.ResourceCPU] = resource.MustParse(cpu)
	}
	if memory != "" {
		list[corev1.ResourceMemory] = resource.MustParse(memory)
	}
	return list
}

// sized gives a pod's first container requests, and limits that are twice as
// much.
func sized(cpu, memory string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = amounts(cpu, memory)
		limits := amounts(cpu, memory)
		for name, q := range limits {
			q.Add(q)
			limits[name] = q
		}
		p.Spec.Containers[0].Resources.Limits = limits
	}
}

// newResizeBench returns a bench whose node is said to have more than its
// agent can give.
func newResizeBench(t *testing.T) *bench {
	t.Helper()
	b := newBench(t)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	if err := b.client.Create(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	node.Status.Allocatable = amounts("8", "8Gi")
	if err := b.client.UpdateStatus(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	return b
}

// resize writes a pod's resources as users do.
func (b *bench) resize(name string, change func(*corev1.Pod)) *corev1.Pod {
	b.t.Helper()
	pod := &corev1.Pod{}
	if err := b.client.Get(b.t.Context(), "default", name, pod); err != nil {
		b.t.Fatal(err)
	}
	change(pod)
	pod.ResourceVersion = "" // whatever the agent has written meanwhile
	if err := b.client.UpdateSubresource(b.t.Context(), pod, "resize"); err != nil {
		b.t.Fatalf("resize %s: %v", name, err)
	}
	return pod
}

func has(list corev1.ResourceList, name corev1.ResourceName, amount string) bool {
	q, ok := list[name]
	return ok && q.Cmp(resource.MustParse(amount)) == 0
}

// runsWith says whether a pod's container runs with a request of CPU and
// nothing is under way.
func runsWith(cpu string) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		cs := p.Status.ContainerStatuses[0]
		return isReady(p) && cs.Resources != nil && has(cs.Resources.Requests, corev1.ResourceCPU, cpu) &&
			has(cs.AllocatedResources, corev1.ResourceCPU, cpu) && findCondition(&p.Status, corev1.PodResizeInProgress) == nil
	}
}

func TestResizeInPlace(t *testing.T) {
	b := newResizeBench(t)
	b.pod("web", sized("100m", "64Mi"))
	got := b.until("web", "ready", isReady)
	if cs := got.Status.ContainerStatuses[0]; cs.Resources == nil || !has(cs.Resources.Limits, corev1.ResourceMemory, "128Mi") ||
		!has(cs.AllocatedResources, corev1.ResourceCPU, "100m") {
		t.Errorf("the status tells of %+v and %v", cs.Resources, cs.AllocatedResources)
	}
	id := b.runtime.running("main")
	want := b.resize("web", sized("200m", "32Mi"))
	got = b.until("web", "resized", runsWith("200m"))
	if got.Status.ObservedGeneration != want.Generation || want.Generation != 2 {
		t.Errorf("generation %d, observed %d", want.Generation, got.Status.ObservedGeneration)
	}
	if b.runtime.running("main") != id || got.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Error("the container was restarted")
	}
	// The pod's cgroup has room for both sizes while its container changes.
	size := func(cpu, quota, memory int64) runtime.Resources {
		return runtime.Resources{CPUShares: runtime.SharesForMilliCPU(cpu), CPUQuota: runtime.QuotaForMilliCPU(quota), MemoryLimit: memory << 20}
	}
	if diff := cmp.Diff([]update{{"pod", size(200, 400, 128)}, {"main", size(200, 400, 64)}, {"pod", size(200, 400, 64)}}, b.runtime.changes(),
		cmp.AllowUnexported(update{})); diff != "" {
		t.Errorf("changes of cgroups (-want +got):\n%s", diff)
	}
	for _, reason := range []string{"ResizeStarted", "ResizeCompleted"} {
		if !b.events.has(reason) {
			t.Errorf("no %s event", reason)
		}
	}
}

func TestResizeByRestart(t *testing.T) {
	b := newResizeBench(t)
	b.pod("web", func(p *corev1.Pod) {
		sized("100m", "64Mi")(p)
		p.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
		p.Spec.Containers[0].ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer}}
	})
	b.until("web", "ready", isReady)
	id := b.runtime.running("main")
	b.resize("web", sized("200m", "64Mi"))
	b.until("web", "resized", runsWith("200m"))
	if b.runtime.running("main") != id {
		t.Fatal("a change of CPU restarted the container")
	}
	b.resize("web", sized("200m", "128Mi"))
	got := b.until("web", "restarted", func(p *corev1.Pod) bool {
		return p.Status.ContainerStatuses[0].RestartCount == 1 && runsWith("200m")(p)
	})
	if r := got.Status.ContainerStatuses[0].Resources; !has(r.Limits, corev1.ResourceMemory, "256Mi") {
		t.Errorf("the new container has %+v", r)
	}
	status, err := b.runtime.ContainerStatus(t.Context(), b.runtime.running("main"))
	if err != nil || status.Spec.Resources.MemoryLimit != 256<<20 {
		t.Errorf("the runtime was told %+v: %v", status.Spec.Resources, err)
	}
}

// pending returns why a pod's resize is not granted, "" if none is wanting.
func pending(p *corev1.Pod) string {
	if p == nil {
		return ""
	}
	c := findCondition(&p.Status, corev1.PodResizePending)
	if c == nil {
		return ""
	}
	return c.Reason
}

func TestResizeWaitsForRoom(t *testing.T) {
	b := newResizeBench(t)
	other := b.pod("other", func(p *corev1.Pod) {
		sized("1", "64Mi")(p)
		p.Spec.Containers[0].Name = "other"
	})
	b.until("other", "ready", isReady)
	b.pod("web", sized("500m", "64Mi"))
	b.until("web", "ready", isReady)
	b.resize("web", sized("1500m", "64Mi"))
	got := b.until("web", "deferred", func(p *corev1.Pod) bool { return pending(p) == corev1.PodReasonDeferred })
	c := findCondition(&got.Status, corev1.PodResizePending)
	if want := "Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000"; c.Message != want || c.ObservedGeneration != 2 {
		t.Errorf("the condition is %+v", c)
	}
	if cs := got.Status.ContainerStatuses[0]; !has(cs.Resources.Requests, corev1.ResourceCPU, "500m") || !has(cs.AllocatedResources, corev1.ResourceCPU, "500m") {
		t.Errorf("while it waits it has %+v", cs)
	}
	if !b.events.has("ResizeDeferred") {
		t.Error("no ResizeDeferred event")
	}
	if err := b.client.Delete(t.Context(), other, client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("web", "resized", func(p *corev1.Pod) bool { return pending(p) == "" && runsWith("1500m")(p) })
}

// What a pod gives up others have only once its cgroups have shrunk.
func TestResizeWaitsForAnother(t *testing.T) {
	b := newResizeBench(t)
	b.pod("large", func(p *corev1.Pod) {
		sized("1500m", "64Mi")(p)
		p.Spec.Containers[0].Name = "large"
	})
	b.until("large", "ready", isReady)
	b.pod("web", sized("500m", "64Mi"))
	b.until("web", "ready", isReady)
	b.runtime.setStuck(true)
	b.resize("large", sized("500m", "64Mi"))
	failing := b.until("large", "failing to shrink", func(p *corev1.Pod) bool {
		c := findCondition(&p.Status, corev1.PodResizeInProgress)
		return c != nil && c.Reason == corev1.PodReasonError
	})
	if cs := failing.Status.ContainerStatuses[0]; !has(cs.Resources.Requests, corev1.ResourceCPU, "1500m") || !has(cs.AllocatedResources, corev1.ResourceCPU, "500m") {
		t.Errorf("while it cannot shrink its status is %+v", cs)
	}
	b.resize("web", sized("1500m", "64Mi"))
	b.until("web", "deferred", func(p *corev1.Pod) bool { return pending(p) == corev1.PodReasonDeferred })
	b.runtime.setStuck(false)
	b.stop() // the next agent does not wait for the time of the next try
	b.start()
	b.until("large", "resized", runsWith("500m"))
	b.until("web", "resized", runsWith("1500m"))
}

func TestResizeThatCannotBe(t *testing.T) {
	b := newResizeBench(t)
	b.pod("web", sized("500m", "64Mi"))
	b.until("web", "ready", isReady)
	b.resize("web", sized("3", "64Mi"))
	got := b.until("web", "refused", func(p *corev1.Pod) bool { return pending(p) == corev1.PodReasonInfeasible })
	if c := findCondition(&got.Status, corev1.PodResizePending); c.Message != "Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000" {
		t.Errorf("the condition is %+v", c)
	}
	b.resize("web", sized("500m", "64Mi"))
	b.until("web", "as it was", func(p *corev1.Pod) bool { return pending(p) == "" && runsWith("500m")(p) })
	if len(b.runtime.changes()) != 0 {
		t.Errorf("cgroups were changed: %v", b.runtime.changes())
	}
}

// A limit of memory below what is used would have the kernel kill.
func TestResizeBelowUsage(t *testing.T) {
	b := newResizeBench(t)
	b.pod("web", sized("500m", "64Mi"))
	b.until("web", "ready", isReady)
	b.resize("web", sized("500m", "4Mi"))
	got := b.until("web", "failing to shrink", func(p *corev1.Pod) bool {
		c := findCondition(&p.Status, corev1.PodResizeInProgress)
		return c != nil && c.Reason == corev1.PodReasonError
	})
	message := findCondition(&got.Status, corev1.PodResizeInProgress).Message
	if !strings.Contains(message, `cannot decrease memory limits: attempting to set container "main" memory limit (8388608) below current usage (8388608)`) {
		t.Errorf("the problem is %s", message)
	}
	if len(b.runtime.changes()) != 0 || !b.events.has("ResizeError") {
		t.Errorf("cgroups were changed: %v", b.runtime.changes())
	}
	b.resize("web", sized("500m", "32Mi"))
	b.until("web", "resized", func(p *corev1.Pod) bool {
		return runsWith("500m")(p) && has(p.Status.ContainerStatuses[0].Resources.Limits, corev1.ResourceMemory, "64Mi")
	})
}

// What was given outlives the agent, and a boot; what was not given does not
// come to be given by either.
func TestResizeOutlivesTheAgent(t *testing.T) {
	for _, boot := range []bool{false, true} {
		b := newResizeBench(t)
		b.pod("other", func(p *corev1.Pod) {
			sized("1", "64Mi")(p)
			p.Spec.Containers[0].Name = "other"
		})
		b.until("other", "ready", isReady)
		b.pod("web", sized("100m", "64Mi"))
		b.until("web", "ready", isReady)
		b.resize("web", sized("200m", "64Mi"))
		b.until("web", "resized", runsWith("200m"))
		id := b.runtime.running("main")
		b.stop()
		b.resize("web", sized("1500m", "64Mi"))
		if boot {
			b.runtime.boot()
		}
		b.start()
		got := b.until("web", "deferred", func(p *corev1.Pod) bool { return pending(p) == corev1.PodReasonDeferred && isReady(p) })
		if cs := got.Status.ContainerStatuses[0]; !has(cs.Resources.Requests, corev1.ResourceCPU, "200m") || !has(cs.AllocatedResources, corev1.ResourceCPU, "200m") {
			t.Errorf("after a boot (%v) it has %+v", boot, cs)
		}
		if b.runtime.running("main") == id == boot {
			t.Errorf("after a boot (%v) the container is %s, was %s", boot, b.runtime.running("main"), id)
		}
		b.stop()
		b.runtime.boot()
		b.start() // what was deferred may have become possible
		b.resize("web", sized("300m", "64Mi"))
		b.until("web", "resized", func(p *corev1.Pod) bool { return pending(p) == "" && runsWith("300m")(p) })
	}
}

// A resize that no agent has seen does not pass for granted after its start.
func TestResizeWhileNoAgentRuns(t *testing.T) {
	b := newResizeBench(t)
	b.pod("web", sized("100m", "64Mi"))
	b.until("web", "ready", isReady)
	b.stop()
	b.resize("web", sized("300m", "64Mi"))
	b.start()
	b.until("web", "resized", runsWith("300m"))
	if changes := b.runtime.changes(); len(changes) == 0 {
		t.Error("the status says that it was resized, the runtime was not told")
	}
}

// An agent that starts finds nothing to be resized where nothing was, also if the
// runtime does not keep what its containers are limited to.
func TestNothingIsResizedByAStart(t *testing.T) {
	for _, forgetful := range []bool{false, true} {
		b := newResizeBench(t)
		b.pod("web", sized("100m", "64Mi"))
		b.until("web", "ready", isReady)
		b.stop()
		if forgetful {
			b.runtime.forgetResources()
		}
		b.start()
		b.pod("next", func(p *corev1.Pod) { p.Spec.Containers[0].Name = "next" })
		b.until("next", "ready", isReady)
		b.runtime.end(b.runtime.running("main"), 1) // "web" has been adopted when it is restarted
		b.until("web", "restarted", func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].RestartCount == 1 && isReady(p) })
		if changes := b.runtime.changes(); len(changes) > 0 || b.events.has("ResizeCompleted") {
			t.Errorf("forgetful: %v, changes of cgroups: %v", forgetful, changes)
		}
	}
}

// The pod as a whole has resources of its own, which can be changed too.
func TestResizeOfThePod(t *testing.T) {
	b := newResizeBench(t)
	whole := func(cpu string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Resources = &corev1.ResourceRequirements{Requests: amounts(cpu, "64Mi"), Limits: amounts(cpu, "64Mi")}
		}
	}
	b.pod("web", whole("500m"))
	got := b.until("web", "ready", isReady)
	if r := got.Status.Resources; r == nil || !has(r.Limits, corev1.ResourceCPU, "500m") || !has(got.Status.AllocatedResources, corev1.ResourceCPU, "500m") {
		t.Errorf("the status tells of %+v and %v", r, got.Status.AllocatedResources)
	}
	b.resize("web", whole("1"))
	b.until("web", "resized", func(p *corev1.Pod) bool {
		return has(p.Status.Resources.Limits, corev1.ResourceCPU, "1") && has(p.Status.Resources.Requests, corev1.ResourceCPU, "1") &&
			findCondition(&p.Status, corev1.PodResizeInProgress) == nil
	})
	// What its container does not limit itself, the pod does.
	want := runtime.Resources{CPUShares: 1024, CPUQuota: 100_000, MemoryLimit: 64 << 20}
	if diff := cmp.Diff([]update{{"pod", want}, {"main", want}}, b.runtime.changes(), cmp.AllowUnexported(update{})); diff != "" {
		t.Errorf("changes of cgroups (-want +got):\n%s", diff)
	}
}

// A generation is not observed before its resize is answered: who waits for it
// would find the old size, and no condition.
func TestResizeIsAnsweredBeforeItIsObserved(t *testing.T) {
	b := newResizeBench(t)
	b.pod("web", sized("100m", "64Mi"))
	b.until("web", "ready", isReady)
	var early atomic.Int32
	b.watch.AddHandler(client.Handler[*corev1.Pod]{OnUpdate: func(_, p *corev1.Pod) {
		cs := p.Status.ContainerStatuses[0]
		settled := findCondition(&p.Status, corev1.PodResizeInProgress) == nil && pending(p) == ""
		if p.Name == "web" && p.Status.ObservedGeneration == p.Generation && settled &&
			cs.Resources.Requests.Cpu().Cmp(*p.Spec.Containers[0].Resources.Requests.Cpu()) != 0 {
			early.Add(1)
		}
	}})
	for _, cpu := range []string{"200m", "1", "1500m", "3", "100m"} {
		pod := b.resize("web", sized(cpu, "64Mi"))
		b.until("web", "answered", func(p *corev1.Pod) bool {
			return p.Status.ObservedGeneration == pod.Generation && (pending(p) != "" || runsWith(cpu)(p))
		})
	}
	if n := early.Load(); n > 0 {
		t.Errorf("%d versions say that nothing is to be done", n)
	}
}

func TestOOMScore(t *testing.T) {
	node := amounts("", "1000Mi")
	pod := func(change func(*corev1.Pod)) *corev1.Pod {
		always := corev1.ContainerRestartPolicyAlways
		p := &corev1.Pod{}
		p.Spec.InitContainers = []corev1.Container{{Name: "side", RestartPolicy: &always}}
		p.Spec.Containers = []corev1.Container{{Name: "main"}}
		p.Spec.Containers[0].Resources.Requests = amounts("", "100Mi")
		if change != nil {
			change(p)
		}
		return p
	}
	critical := int32(2_000_001_000)
	for _, tt := range []struct {
		name, container string
		change          func(*corev1.Pod)
		want            int
	}{
		{"asks for a tenth", "main", nil, 900},
		{"its sidecar", "side", nil, 900},
		{"asks for little", "main", func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = amounts("", "1Ki") }, 999},
		{"asks for all", "main", func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = amounts("", "1000Mi") }, 3},
		{"asks for nothing", "main", func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = nil }, 1000},
		{"guaranteed", "main", func(p *corev1.Pod) {
			p.Spec.InitContainers, p.Spec.Containers[0].Resources.Limits = nil, amounts("1", "100Mi")
			p.Spec.Containers[0].Resources.Requests = amounts("1", "100Mi")
		}, -997},
		{"critical", "main", func(p *corev1.Pod) { p.Spec.Priority = &critical }, -997},
		{"as a whole", "main", func(p *corev1.Pod) { p.Spec.Resources = &corev1.ResourceRequirements{Requests: amounts("", "300Mi")} }, 800},
	} {
		p := pod(tt.change)
		c := &p.Spec.Containers[0]
		if tt.container == "side" {
			c = &p.Spec.InitContainers[0]
		}
		if got := oomScore(p, c, node); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestWhichResizeGoesFirst(t *testing.T) {
	m := &Manager{granted: map[string]grant{"grows": {requests: amounts("1", "")}, "shrinks": {requests: amounts("3", "")}}}
	ask := func(uid, cpu string, change func(*resizeAsk)) *resizeAsk {
		a := &resizeAsk{uid: uid, grant: grant{requests: amounts(cpu, "")}, class: corev1.PodQOSBurstable}
		if change != nil {
			change(a)
		}
		return a
	}
	first := func(a, b *resizeAsk) bool { return m.compareAsks(a, b) < 0 && m.compareAsks(b, a) > 0 }
	important := func(a *resizeAsk) { a.priority = 5 }
	if !first(ask("shrinks", "2", nil), ask("grows", "2", important)) {
		t.Error("what takes nothing waits for what does")
	}
	if !first(ask("grows", "2", important), ask("grows", "2", nil)) {
		t.Error("priority does not count")
	}
	if !first(ask("grows", "2", func(a *resizeAsk) { a.class = corev1.PodQOSGuaranteed }), ask("grows", "2", nil)) {
		t.Error("the class does not count")
	}
	if !first(ask("grows", "2", nil), ask("grows", "2", func(a *resizeAsk) { a.since = a.since.Add(1) })) {
		t.Error("the younger goes first")
	}
}

// What a pod was given is looked up where it is most surely known.
func TestRecoversWhatWasGiven(t *testing.T) {
	b := newStoreBench(t)
	m := b.newManager(t.Context(), b.runtime, fakeImages{}, b.network)
	pod := &corev1.Pod{}
	pod.UID = "uid"
	pod.Spec.Containers = []corev1.Container{{Name: "main"}}
	check := func(what, want string) {
		t.Helper()
		sized(want, "")(pod)
		given := allocationOf(pod)
		sized("9", "")(pod) // what is asked for is not what was given
		if got := m.recoverAllocation(t.Context(), pod); !got.equal(given) {
			t.Errorf("%s: it was given %+v", what, got)
		}
	}
	if got := m.recoverAllocation(t.Context(), pod); got != nil {
		t.Errorf("a new pod was given %+v", got)
	}
	sized("1", "")(pod)
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", Resources: pod.Spec.Containers[0].Resources.DeepCopy()}}
	check("by the status", "1")
	sized("2", "")(pod)
	annotations, err := annotate(annotationAllocation, allocationOf(pod))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.runtime.CreateSandbox(t.Context(), runtime.SandboxSpec{UID: "uid", Annotations: annotations}); err != nil {
		t.Fatal(err)
	}
	check("by the sandbox", "2")
	sized("3", "")(pod)
	if err := m.saveAllocation("uid", allocationOf(pod)); err != nil {
		t.Fatal(err)
	}
	check("by the file", "3")
	writeFile(t, m.allocationPath("uid"), "{")
	check("by a broken file", "1")
}
