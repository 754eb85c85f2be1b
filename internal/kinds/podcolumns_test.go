package kinds

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func waiting(reason string) corev1.ContainerStatus {
	return corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}}
}

func ended(reason string, code, signal int32) corev1.ContainerStatus {
	return corev1.ContainerStatus{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: reason, ExitCode: code, Signal: signal}}}
}

func running(ready bool) corev1.ContainerStatus {
	return corev1.ContainerStatus{Ready: ready, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
}

func TestPodStatusColumn(t *testing.T) {
	now := metav1.Now()
	always := corev1.ContainerRestartPolicyAlways
	restarted := running(true)
	restarted.RestartCount = 3
	restarted.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{FinishedAt: metav1.NewTime(time.Now().Add(-5*time.Minute - time.Second))}
	sidecar := running(true)
	sidecar.Name, sidecar.Started = "side", &sidecar.Ready
	for _, c := range []struct {
		name                 string
		pod                  corev1.Pod
		init, main           []corev1.ContainerStatus
		ready, status, again string
	}{
		{name: "pending", pod: corev1.Pod{Status: corev1.PodStatus{Phase: "Pending"}}, ready: "0/1", status: "Pending", again: "0"},
		{name: "creating", main: []corev1.ContainerStatus{waiting("ContainerCreating")}, ready: "0/1", status: "ContainerCreating", again: "0"},
		{name: "running", main: []corev1.ContainerStatus{running(true)}, ready: "1/1", status: "Running", again: "0"},
		{name: "not ready", main: []corev1.ContainerStatus{running(false)}, ready: "0/1", status: "Running", again: "0"},
		{name: "restarted", main: []corev1.ContainerStatus{restarted}, ready: "1/1", status: "Running", again: "3 (5m1s ago)"},
		{name: "crashing", main: []corev1.ContainerStatus{waiting("CrashLoopBackOff")}, ready: "0/1", status: "CrashLoopBackOff", again: "0"},
		{name: "completed", main: []corev1.ContainerStatus{ended("Completed", 0, 0)}, ready: "0/1", status: "Completed", again: "0"},
		{name: "exit code", main: []corev1.ContainerStatus{ended("", 7, 0)}, ready: "0/1", status: "ExitCode:7", again: "0"},
		{name: "signal", main: []corev1.ContainerStatus{ended("", 137, 9)}, ready: "0/1", status: "Signal:9", again: "0"},
		{name: "initializing", init: []corev1.ContainerStatus{waiting("PodInitializing")}, ready: "0/1", status: "Init:0/1", again: "0"},
		{name: "init failed", init: []corev1.ContainerStatus{ended("Error", 1, 0)}, ready: "0/1", status: "Init:Error", again: "0"},
		{name: "init crashing", init: []corev1.ContainerStatus{waiting("CrashLoopBackOff")}, ready: "0/1", status: "Init:CrashLoopBackOff", again: "0"},
		{name: "sidecar", pod: corev1.Pod{Spec: corev1.PodSpec{InitContainers: []corev1.Container{{Name: "side", RestartPolicy: &always}}}},
			init: []corev1.ContainerStatus{sidecar}, main: []corev1.ContainerStatus{running(true)}, ready: "2/2", status: "Running", again: "0"},
		{name: "terminating", pod: corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &now}},
			main: []corev1.ContainerStatus{running(true)}, ready: "1/1", status: "Terminating", again: "0"},
		{name: "lost", pod: corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &now}, Status: corev1.PodStatus{Reason: "NodeLost"}}, ready: "0/1", status: "Unknown", again: "0"},
		{name: "evicted", pod: corev1.Pod{Status: corev1.PodStatus{Phase: "Failed", Reason: "Evicted"}}, ready: "0/1", status: "Evicted", again: "0"},
		{name: "gated", pod: corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Reason: "SchedulingGated"}}}},
			ready: "0/1", status: "SchedulingGated", again: "0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &c.pod
			p.Spec.Containers = []corev1.Container{{Name: "c"}}
			if len(c.init) > 0 && len(p.Spec.InitContainers) == 0 {
				p.Spec.InitContainers = []corev1.Container{{Name: "i"}}
			}
			setDefault(&p.Status.Phase, corev1.PodRunning)
			p.Status.InitContainerStatuses, p.Status.ContainerStatuses = c.init, c.main
			cells := map[string]any{}
			for _, column := range podColumns() {
				cells[column.Name] = column.Value(p)
			}
			for column, want := range map[string]string{"Ready": c.ready, "Status": c.status, "Restarts": c.again} {
				if cells[column] != want {
					t.Errorf("%s is %q, want %q", column, cells[column], want)
				}
			}
		})
	}
}
