package pods_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/testcluster"
)

// readCgroup prints a container's limits as the kernel has them, in both
// versions of cgroups: bytes of memory, and microseconds of CPU in each 100 ms.
const readCgroup = `cd /sys/fs/cgroup; echo $(cat memory/memory.limit_in_bytes memory.max 2>/dev/null) $(cat cpu/cpu.cfs_quota_us cpu.max 2>/dev/null | cut -d" " -f1)`

// TestResize changes the resources of running pods with kubectl, and looks at
// their cgroups.
func TestResize(t *testing.T) {
	s := newSuite(t)
	t.Run("in place", s.testResizeInPlace)
	t.Run("by a restart", s.testResizeRestarts)
	t.Run("a sidecar", s.testResizeSidecar)
	t.Run("an init container", s.testResizeInit)
	t.Run("what had no limit", s.testResizeAdds)
	t.Run("the pod as a whole", s.testResizeWhole)
	t.Run("below what is used", s.testResizeBelowUsage)
	t.Run("too much", s.testResizeTooMuch)
	t.Run("waiting for room", s.testResizeWaits)
	t.Run("pods without a node", s.testResizeSchedules)
}

// resize sets resources of a pod's container, or of another sort of container.
func (s suite) resize(t *testing.T, name, list, container, resources string) {
	t.Helper()
	s.Kubectl(t, "patch", "pod", name, "--subresource", "resize", "--patch",
		fmt.Sprintf(`{"spec":{%q:[{"name":%q,"resources":%s}]}}`, list, container, resources))
}

// untilResized waits until a container has what its spec says.
func (s suite) untilResized(t *testing.T, name, container, request, limit string) *corev1.Pod {
	t.Helper()
	return s.until(t, name, "is resized", func(p *corev1.Pod) error {
		cs := statusOf(p, container)
		if cs.Resources == nil || cs.Resources.Requests.Cpu().String() != request || cs.Resources.Limits.Cpu().String() != limit ||
			cs.AllocatedResources.Cpu().String() != request || !cs.Ready {
			return errors.New("it has other resources")
		}
		if c := conditionOf(p, corev1.PodResizeInProgress); c.Type != "" {
			return fmt.Errorf("it is under way: %+v", c)
		}
		return nil
	})
}

func (s suite) testResizeInPlace(t *testing.T) {
	s.create(t, "resize", `
containers: [{name: c, command: [sleep, "1000"], resources: {requests: {cpu: 100m, memory: 16Mi}, limits: {cpu: 200m, memory: 32Mi}}}]`)
	s.untilReady(t, "resize")
	s.resize(t, "resize", "containers", "c", `{"requests":{"cpu":"150m","memory":"24Mi"},"limits":{"cpu":"300m","memory":"64Mi"}}`)
	p := s.untilResized(t, "resize", "c", "150m", "300m")
	if got := strings.TrimSpace(s.exec(t, "resize", "sh", "-c", readCgroup)); got != "67108864 30000" {
		t.Errorf("the container's cgroup has %s", got)
	}
	if p.Generation != 2 || p.Status.ObservedGeneration != 2 || statusOf(p, "c").RestartCount != 0 {
		t.Errorf("generation %d, observed %d, status %+v", p.Generation, p.Status.ObservedGeneration, statusOf(p, "c"))
	}
	s.untilEvent(t, "resize", "Normal ResizeCompleted Pod resize completed: ")
	// What it was given is known to the next agent, and can be taken back.
	s.Kill(t, "agent-"+s.nodeName(t))
	s.resize(t, "resize", "containers", "c", `{"requests":{"cpu":"50m"},"limits":{"cpu":"100m","memory":"32Mi"}}`)
	p = s.untilResized(t, "resize", "c", "50m", "100m")
	if got := strings.TrimSpace(s.exec(t, "resize", "sh", "-c", readCgroup)); got != "33554432 10000" {
		t.Errorf("the container's cgroup has %s", got)
	}
	if statusOf(p, "c").RestartCount != 0 {
		t.Errorf("it was restarted: %+v", statusOf(p, "c"))
	}
}

func (s suite) testResizeRestarts(t *testing.T) {
	s.create(t, "resize-restart", `
containers:
- name: c
  command: [sh, -c, 'echo `+"`"+readCgroup+"`"+`; exec sleep 1000']
  resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}]
  resources: {requests: {cpu: 50m, memory: 16Mi}, limits: {cpu: 100m, memory: 32Mi}}`)
	s.untilReady(t, "resize-restart")
	s.resize(t, "resize-restart", "containers", "c", `{"limits":{"cpu":"200m","memory":"64Mi"}}`)
	p := s.untilResized(t, "resize-restart", "c", "50m", "200m")
	if n := statusOf(p, "c").RestartCount; n != 1 {
		t.Errorf("it was restarted %d times", n)
	}
	testcluster.Eventually(t, "the container says what it was started with", func() error {
		if log := s.log(t, "resize-restart", corev1.PodLogOptions{}); log != "67108864 20000\n" {
			return fmt.Errorf("it says %q", log)
		}
		return nil
	})
	s.untilEvent(t, "resize-restart", "Normal Killing Container c resize requires restart")
}

func (s suite) testResizeSidecar(t *testing.T) {
	s.create(t, "resize-sidecar", `
initContainers: [{name: side, restartPolicy: Always, command: [sleep, "1000"], resources: {requests: {cpu: 50m}, limits: {cpu: 100m, memory: 32Mi}}}]
containers: [{name: c, command: [sleep, "1000"]}]`)
	s.untilReady(t, "resize-sidecar")
	s.resize(t, "resize-sidecar", "initContainers", "side", `{"requests":{"cpu":"60m"},"limits":{"cpu":"150m","memory":"48Mi"}}`)
	s.untilResized(t, "resize-sidecar", "side", "60m", "150m")
	if got := strings.TrimSpace(s.Kubectl(t, "exec", "resize-sidecar", "-c", "side", "--", "sh", "-c", readCgroup)); got != "50331648 15000" {
		t.Errorf("the sidecar's cgroup has %s", got)
	}
}

func (s suite) testResizeInit(t *testing.T) {
	s.create(t, "resize-init", `
initContainers: [{name: i, command: [sleep, "1000"], resources: {requests: {cpu: 50m, memory: 16Mi}, limits: {cpu: 100m, memory: 32Mi}}}]
containers: [{name: c}]`)
	s.until(t, "resize-init", "runs its init container", func(p *corev1.Pod) error {
		if statusOf(p, "i").State.Running == nil {
			return errors.New("it does not")
		}
		return nil
	})
	s.resize(t, "resize-init", "initContainers", "i", `{"limits":{"cpu":"150m","memory":"48Mi"}}`)
	s.until(t, "resize-init", "is resized", func(p *corev1.Pod) error {
		if r := statusOf(p, "i").Resources; r.Limits.Cpu().String() != "150m" || conditionOf(p, corev1.PodResizeInProgress).Type != "" {
			return fmt.Errorf("it has %+v", r)
		}
		return nil
	})
	if got := strings.TrimSpace(s.Kubectl(t, "exec", "resize-init", "-c", "i", "--", "sh", "-c", readCgroup)); got != "50331648 15000" {
		t.Errorf("the init container's cgroup has %s", got)
	}
}

// testResizeAdds limits containers that were not: with the last one the pod's
// cgroup is limited as well.
func (s suite) testResizeAdds(t *testing.T) {
	s.create(t, "resize-adds", `
containers:
- {name: c, command: [sleep, "1000"], resources: {requests: {cpu: 50m}}}
- {name: d, command: [sleep, "1000"], resources: {requests: {memory: 16Mi}}}`)
	s.untilReady(t, "resize-adds")
	s.Kubectl(t, "patch", "pod", "resize-adds", "--subresource", "resize", "--patch", `{"spec":{"containers":[
		{"name":"c","resources":{"requests":{"cpu":"60m"},"limits":{"cpu":"100m","memory":"32Mi"}}},
		{"name":"d","resources":{"requests":{"memory":"8Mi"},"limits":{"cpu":"200m","memory":"64Mi"}}}]}}`)
	s.untilResized(t, "resize-adds", "c", "60m", "100m")
	s.untilResized(t, "resize-adds", "d", "200m", "200m")
	for container, want := range map[string]string{"c": "33554432 10000", "d": "67108864 20000"} {
		if got := strings.TrimSpace(s.Kubectl(t, "exec", "resize-adds", "-c", container, "--", "sh", "-c", readCgroup)); got != want {
			t.Errorf("the cgroup of %s has %s, want %s", container, got, want)
		}
	}
	p := s.pods.get("resize-adds")
	if r := p.Status.Resources; r == nil || r.Limits.Cpu().String() != "300m" || r.Limits.Memory().String() != "96Mi" {
		t.Errorf("the pod has %+v", p.Status.Resources)
	}
}

// testResizeWhole changes what a pod may take as a whole, which is the limit of
// containers that have none of their own.
func (s suite) testResizeWhole(t *testing.T) {
	s.create(t, "resize-whole", `
resources: {requests: {cpu: 50m, memory: 16Mi}, limits: {cpu: 100m, memory: 32Mi}}
containers: [{name: c, command: [sleep, "1000"]}]`)
	s.untilReady(t, "resize-whole")
	if got := strings.TrimSpace(s.exec(t, "resize-whole", "sh", "-c", readCgroup)); got != "33554432 10000" {
		t.Errorf("at first the container's cgroup has %s", got)
	}
	s.Kubectl(t, "patch", "pod", "resize-whole", "--subresource", "resize", "--patch", `{"spec":{"resources":{"limits":{"cpu":"150m","memory":"64Mi"}}}}`)
	s.until(t, "resize-whole", "is resized", func(p *corev1.Pod) error {
		r := p.Status.Resources
		if r.Limits.Cpu().String() != "150m" || r.Limits.Memory().String() != "64Mi" || conditionOf(p, corev1.PodResizeInProgress).Type != "" {
			return fmt.Errorf("it has %+v", r)
		}
		return nil
	})
	if got := strings.TrimSpace(s.exec(t, "resize-whole", "sh", "-c", readCgroup)); got != "67108864 15000" {
		t.Errorf("the container's cgroup has %s", got)
	}
}

// A limit below what is used is not set, and nothing is killed.
func (s suite) testResizeBelowUsage(t *testing.T) {
	s.create(t, "resize-used", `
volumes: [{name: v, emptyDir: {medium: Memory}}]
containers:
- name: c
  command: [sh, -c, 'dd if=/dev/zero of=/v/f bs=1M count=32 && touch /v/full && exec sleep 1000']
  readinessProbe: {exec: {command: [test, -e, /v/full]}, periodSeconds: 1, timeoutSeconds: 30}
  volumeMounts: [{name: v, mountPath: /v}]
  resources: {requests: {cpu: 50m, memory: 16Mi}, limits: {memory: 64Mi}}`)
	s.untilReady(t, "resize-used")
	s.resize(t, "resize-used", "containers", "c", `{"limits":{"memory":"24Mi"}}`)
	s.until(t, "resize-used", "is not resized", func(p *corev1.Pod) error {
		c := conditionOf(p, corev1.PodResizeInProgress)
		if c.Reason != corev1.PodReasonError || !strings.Contains(c.Message, `attempting to set container "c" memory limit (25165824) below current usage`) {
			return fmt.Errorf("its condition is %+v", c)
		}
		return nil
	})
	if got := s.exec(t, "resize-used", "sh", "-c", readCgroup); !strings.HasPrefix(got, "67108864 ") {
		t.Errorf("the container's cgroup has %s", got)
	}
}

func (s suite) testResizeTooMuch(t *testing.T) {
	s.create(t, "resize-much", `
containers: [{name: c, command: [sleep, "1000"], resources: {requests: {cpu: 50m}}}]`)
	s.untilReady(t, "resize-much")
	testcluster.Contains(t, "a resize beyond the node", s.KubectlFails(t, "patch", "pod", "resize-much", "--subresource", "resize",
		"--patch", `{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"1000"}}}]}}`),
		"node didn't have enough allocatable resources: cpu, requested: 1000000, allocatable:")
	testcluster.Contains(t, "a resize to another class", s.KubectlFails(t, "patch", "pod", "resize-much", "--subresource", "resize",
		"--patch", `{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":null}}}]}}`),
		"resource requests cannot be removed", "Pod QOS Class may not change as a result of resizing")
}

// testResizeWaits has a pod want what another has, until that is gone.
func (s suite) testResizeWaits(t *testing.T) {
	node, err := s.clients.CoreV1().Nodes().Get(t.Context(), s.nodeName(t), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	half := node.Status.Allocatable.Cpu().MilliValue() / 2
	s.create(t, "resize-other", fmt.Sprintf(`
containers: [{name: c, command: [sleep, "1000"], resources: {requests: {cpu: %dm}}}]`, half))
	s.create(t, "resize-waits", `
containers: [{name: c, command: [sleep, "1000"], resources: {requests: {cpu: 50m}, limits: {cpu: "8"}}}]`)
	s.untilReady(t, "resize-other")
	s.untilReady(t, "resize-waits")
	want := fmt.Sprintf("%dm", half+half/4)
	s.resize(t, "resize-waits", "containers", "c", fmt.Sprintf(`{"requests":{"cpu":%q}}`, want))
	p := s.until(t, "resize-waits", "is put off", func(p *corev1.Pod) error {
		if c := conditionOf(p, corev1.PodResizePending); c.Reason != corev1.PodReasonDeferred {
			return fmt.Errorf("its condition is %+v", c)
		}
		return nil
	})
	if cs := statusOf(p, "c"); cs.AllocatedResources.Cpu().String() != "50m" {
		t.Errorf("meanwhile it was given %v", cs.AllocatedResources)
	}
	s.remove("resize-other")
	s.untilResized(t, "resize-waits", "c", want, "8")
	s.Kubectl(t, "delete", "pod", "resize-waits") // returns when the node has given its room back
}

// testResizeSchedules has pods wait for a node, until they or others are made
// smaller.
func (s suite) testResizeSchedules(t *testing.T) {
	node, err := s.clients.CoreV1().Nodes().Get(t.Context(), s.nodeName(t), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	all := node.Status.Allocatable.Cpu().MilliValue()
	size := func(cpu int64) string {
		return fmt.Sprintf(`{"requests":{"cpu":"%dm"},"limits":{"cpu":"%dm"}}`, cpu, cpu)
	}
	spec := func(cpu int64) string {
		return "containers: [{name: c, command: [sleep, \"1000\"], resources: " + size(cpu) + "}]"
	}
	unschedulable := func(name string) {
		t.Helper()
		s.until(t, name, "has no node", func(p *corev1.Pod) error {
			if c := conditionOf(p, corev1.PodScheduled); c.Reason != corev1.PodReasonUnschedulable {
				return fmt.Errorf("it is %+v", c)
			}
			return nil
		})
	}
	s.create(t, "resize-first", spec(all/2))
	s.untilReady(t, "resize-first")
	s.create(t, "resize-second", spec(all*3/4))
	unschedulable("resize-second")
	s.resize(t, "resize-second", "containers", "c", size(all/8))
	s.untilReady(t, "resize-second")
	s.create(t, "resize-third", spec(all*3/4))
	unschedulable("resize-third")
	s.resize(t, "resize-first", "containers", "c", size(all/16))
	s.untilReady(t, "resize-third")
}
