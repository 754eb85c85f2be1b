package pods_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// testInitOrder runs init containers that write what they find.
func (s suite) testInitOrder(t *testing.T) {
	s.create(t, "init-order", `
restartPolicy: Never
volumes: [{name: v, emptyDir: {}}]
initContainers:
- {name: one, command: [sh, -c, 'echo one >> /v/order'], volumeMounts: [{name: v, mountPath: /v}]}
- {name: two, command: [sh, -c, 'echo two >> /v/order'], volumeMounts: [{name: v, mountPath: /v}]}
containers:
- {name: c, command: [cat, /v/order], volumeMounts: [{name: v, mountPath: /v}]}
`)
	pod := s.untilPhase(t, "init-order", corev1.PodSucceeded)
	if log := s.log(t, "init-order", corev1.PodLogOptions{Container: "c"}); log != "one\ntwo\n" {
		t.Errorf("the order is %q", log)
	}
	for _, name := range []string{"one", "two"} {
		cs := statusOf(pod, name)
		if !cs.Ready || cs.State.Terminated == nil || cs.State.Terminated.Reason != "Completed" {
			t.Errorf("init container %s: %+v", name, cs)
		}
	}
	want := map[corev1.PodConditionType]string{
		corev1.PodInitialized: "True PodCompleted", corev1.PodReady: "False PodCompleted",
		corev1.ContainersReady: "False PodCompleted", corev1.PodScheduled: "True ",
	}
	got := make(map[corev1.PodConditionType]string)
	for kind := range want {
		c := conditionOf(pod, kind)
		got[kind] = string(c.Status) + " " + c.Reason
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("conditions (-want +got):\n%s", diff)
	}
}

// testInitFails runs a pod whose init container fails for good.
func (s suite) testInitFails(t *testing.T) {
	s.create(t, "init-fails", `
restartPolicy: Never
initContainers: [{name: i, command: [sh, -c, 'exit 5']}]
containers: [{name: c}]
`)
	pod := s.untilPhase(t, "init-fails", corev1.PodFailed)
	if st := statusOf(pod, "i").State.Terminated; st == nil || st.ExitCode != 5 || st.Reason != "Error" {
		t.Errorf("the init container: %+v", st)
	}
	if w := statusOf(pod, "c").State.Waiting; w == nil || w.Reason != "PodInitializing" {
		t.Errorf("the main container: %+v", statusOf(pod, "c").State)
	}
	if c := conditionOf(pod, corev1.PodInitialized); c.Status != corev1.ConditionFalse || c.Message != "containers with incomplete status: [i]" {
		t.Errorf("initialized: %+v", c)
	}
	if out := s.Kubectl(t, "get", "pod", "init-fails"); !strings.Contains(out, "Init:Error") {
		t.Errorf("kubectl shows:\n%s", out)
	}
}

// testSidecar runs a job's pod beside a sidecar, which starts before and ends
// after it.
func (s suite) testSidecar(t *testing.T) {
	s.create(t, "sidecar", `
restartPolicy: Never
terminationGracePeriodSeconds: 30
volumes: [{name: v, emptyDir: {}}]
initContainers:
- name: side
  restartPolicy: Always
  command: [sh, -c, 'trap "echo main said $(cat /v/main); exit 0" TERM; touch /v/up; while :; do sleep 0.1; done']
  startupProbe: {exec: {command: [test, -e, /v/up]}, periodSeconds: 1, timeoutSeconds: 30, failureThreshold: 100}
  volumeMounts: [{name: v, mountPath: /v}]
containers:
- {name: c, command: [sh, -c, 'test -e /v/up && echo done > /v/main'], volumeMounts: [{name: v, mountPath: /v}]}
`)
	pod := s.untilPhase(t, "sidecar", corev1.PodSucceeded)
	side := statusOf(pod, "side")
	if side.State.Terminated == nil || side.State.Terminated.ExitCode != 0 || side.RestartCount != 0 {
		t.Errorf("the sidecar: %+v", side)
	}
}

// testRestartAll has one container's exit code restart all, the init container too;
// what that one has left in a volume is still there.
func (s suite) testRestartAll(t *testing.T) {
	s.create(t, "restart-all", `
restartPolicy: Never
volumes: [{name: v, emptyDir: {}}]
initContainers: [{name: i, command: [sh, -c, 'test -e /v/1 && touch /v/2; touch /v/1'], volumeMounts: [{name: v, mountPath: /v}]}]
containers:
- name: c
  command: [sh, -c, 'test -e /v/2 || exit 42']
  restartPolicy: Never
  restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [42]}}]
  volumeMounts: [{name: v, mountPath: /v}]
- {name: d, command: [sh, -c, 'test -e /v/2 || sleep 1000'], volumeMounts: [{name: v, mountPath: /v}]}
`)
	pod := s.untilPhase(t, "restart-all", corev1.PodSucceeded)
	for _, name := range []string{"i", "c", "d"} {
		if cs := statusOf(pod, name); cs.RestartCount != 1 || cs.State.Terminated == nil || cs.LastTerminationState.Terminated == nil {
			t.Errorf("container %s: %+v", name, cs)
		}
	}
	if last := statusOf(pod, "c").LastTerminationState.Terminated; last != nil && last.ExitCode != 42 {
		t.Errorf("what restarted the pod: %+v", last)
	}
	if c := conditionOf(pod, corev1.AllContainersRestarting); c.Status != corev1.ConditionFalse || c.Reason != "PodCompleted" {
		t.Errorf("restarting: %+v", c)
	}
}

// testRestarts counts how often containers are run under each policy.
func (s suite) testRestarts(t *testing.T) {
	s.create(t, "restart-on-failure", `
restartPolicy: OnFailure
volumes: [{name: v, emptyDir: {}}]
containers: [{name: c, command: [sh, -c, 'test -e /v/f && exit 0; touch /v/f; echo first; exit 9'], volumeMounts: [{name: v, mountPath: /v}]}]
`)
	s.create(t, "restart-always", `containers: [{name: c, command: [sh, -c, 'echo run']}]`)
	pod := s.untilPhase(t, "restart-on-failure", corev1.PodSucceeded)
	cs := statusOf(pod, "c")
	if cs.RestartCount != 1 || cs.LastTerminationState.Terminated == nil || cs.LastTerminationState.Terminated.ExitCode != 9 {
		t.Errorf("after one failure: %+v", cs)
	}
	if log := s.log(t, "restart-on-failure", corev1.PodLogOptions{Previous: true}); log != "first\n" {
		t.Errorf("the previous log is %q", log)
	}
	always := s.until(t, "restart-always", "has been restarted", func(p *corev1.Pod) error {
		if p == nil || statusOf(p, "c").RestartCount < 1 {
			return errors.New("it has not")
		}
		return nil
	})
	if phase := always.Status.Phase; phase != corev1.PodRunning {
		t.Errorf("a pod that is restarted is %s", phase)
	}
	s.untilWaiting(t, "restart-always", "c", "CrashLoopBackOff")
}

// testOutOfMemory runs into the memory limit.
func (s suite) testOutOfMemory(t *testing.T) {
	s.create(t, "oom", `
restartPolicy: Never
containers:
- name: c
  command: [sh, -c, 'busybox dd if=/dev/zero of=/dev/null bs=64M count=1; busybox tail -c 64m /dev/zero']
  resources: {limits: {memory: 16Mi}}
`)
	pod := s.untilPhase(t, "oom", corev1.PodFailed)
	if st := statusOf(pod, "c").State.Terminated; st == nil || st.Reason != "OOMKilled" || st.ExitCode != 137 {
		t.Errorf("it ended with %+v", st)
	}
	if out := s.Kubectl(t, "get", "pod", "oom"); !strings.Contains(out, "OOMKilled") {
		t.Errorf("kubectl shows:\n%s", out)
	}
}

// testTerminationMessage reads what containers say at their end.
func (s suite) testTerminationMessage(t *testing.T) {
	s.create(t, "last-words", `
restartPolicy: Never
containers:
- {name: file, command: [sh, -c, 'echo -n by file > /dev/termination-log']}
- {name: other, command: [sh, -c, 'echo -n elsewhere > /tmp/words'], terminationMessagePath: /tmp/words}
- {name: log, command: [sh, -c, 'echo by log; exit 1'], terminationMessagePolicy: FallbackToLogsOnError}
- {name: silent, command: [sh, -c, 'echo by log'], terminationMessagePolicy: FallbackToLogsOnError}
- {name: long, command: [sh, -c, 'busybox tr "\0" x < /dev/zero | head -c 5000 > /dev/termination-log']}
`)
	pod := s.untilPhase(t, "last-words", corev1.PodFailed)
	want := map[string]string{"file": "by file", "other": "elsewhere", "log": "by log\n", "silent": "", "long": strings.Repeat("x", 4096)}
	got := make(map[string]string)
	for _, cs := range pod.Status.ContainerStatuses {
		if cs.State.Terminated != nil {
			got[cs.Name] = cs.State.Terminated.Message
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("termination messages (-want +got):\n%s", diff)
	}
}

// testSignals deletes pods and sees how their containers end.
func (s suite) testSignals(t *testing.T) {
	tests := []struct {
		name, command string
		exit          int32
	}{
		{"term-default", `echo ready; exec sleep 1000`, 143},
		{"term-handled", `trap "exit 7" TERM; echo ready; while :; do sleep 0.1; done`, 7},
		{"term-ignored", `trap "" TERM; echo ready; while :; do sleep 0.1; done`, 137},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			// Not the first process of its namespace, which ignores signals that it
			// does not handle.
			s.create(t, tt.name, `{shareProcessNamespace: true, containers: [{name: c, command: [sh, -c, '`+tt.command+`']}]}`)
			s.untilReady(t, tt.name)
			s.untilLog(t, tt.name, "ready\n")
			grace := int64(1)
			if err := s.clients.CoreV1().Pods(namespace).Delete(t.Context(), tt.name, metav1.DeleteOptions{GracePeriodSeconds: &grace}); err != nil {
				t.Fatal(err)
			}
			s.until(t, tt.name, "is gone", func(*corev1.Pod) error {
				if s.pods.last(tt.name) == nil {
					return errors.New("it is still there")
				}
				return nil
			})
			ended := statusOf(s.pods.last(tt.name), "c").State.Terminated
			if ended == nil {
				t.Fatal("the API has not shown how it ended")
			}
			if ended.ExitCode != tt.exit {
				t.Errorf("it ended with %d, want %d", ended.ExitCode, tt.exit)
			}
			s.untilEvent(t, tt.name, "Normal Killing Stopping container c")
		})
	}
}

// testHooks runs hooks at a container's start and end.
func (s suite) testHooks(t *testing.T) {
	dir := t.TempDir()
	s.create(t, "hooks", `
terminationGracePeriodSeconds: 30
volumes: [{name: v, hostPath: {path: `+dir+`}}]
containers:
- name: c
  command: [sh, -c, 'trap "echo term >> /v/order; exit" TERM; while :; do sleep 0.1; done']
  lifecycle:
    postStart: {exec: {command: [sh, -c, 'echo started >> /v/order']}}
    preStop: {exec: {command: [sh, -c, 'echo stopping >> /v/order']}}
  volumeMounts: [{name: v, mountPath: /v}]
`)
	s.create(t, "bad-hook", `
restartPolicy: Never
containers: [{name: c, command: [sleep, "1000"], lifecycle: {postStart: {exec: {command: [sh, -c, 'echo no; exit 4']}}}}]
`)
	s.untilReady(t, "hooks")
	s.Kubectl(t, "delete", "pod", "hooks")
	if got := readFile(t, dir+"/order"); got != "started\nstopping\nterm\n" {
		t.Errorf("the order is %q", got)
	}
	s.untilPhase(t, "bad-hook", corev1.PodFailed)
	s.untilEvent(t, "bad-hook", "Warning FailedPostStartHook")
}

// testDeadline ends a pod that runs for too long.
func (s suite) testDeadline(t *testing.T) {
	s.create(t, "deadline", `{activeDeadlineSeconds: 1, containers: [{name: c, command: [sleep, "1000"]}]}`)
	pod := s.untilPhase(t, "deadline", corev1.PodFailed)
	if pod.Status.Reason != "DeadlineExceeded" || pod.Status.Message != "Pod was active on the node longer than the specified deadline" {
		t.Errorf("it ended with %q: %q", pod.Status.Reason, pod.Status.Message)
	}
}
