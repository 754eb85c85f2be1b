// Package schedulinggates holds back pods whose spec.schedulingGates have not
// been taken away yet.
package schedulinggates

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Name of the plugin.
const Name = "SchedulingGates"

// Plugin implements framework.PreEnqueue.
type Plugin struct{}

// New returns the plugin.
func New() *Plugin { return &Plugin{} }

// Name of the plugin.
func (*Plugin) Name() string { return Name }

// PreEnqueue rejects a pod that has gates.
func (*Plugin) PreEnqueue(pod *snapshot.PodInfo) *framework.Status {
	return check(pod.Pod.Spec.SchedulingGates)
}

// EventsToRegister: only the pod itself can lose its gates.
func (*Plugin) EventsToRegister() []framework.EventHint {
	return []framework.EventHint{{Resource: framework.WaitingPod, Action: framework.UpdateGates}}
}

func check(gates []corev1.PodSchedulingGate) *framework.Status {
	if len(gates) == 0 {
		return nil
	}
	names := make([]string, len(gates))
	for i, g := range gates {
		names[i] = g.Name
	}
	return framework.NewStatus(framework.UnschedulableAndUnresolvable, fmt.Sprintf("waiting for scheduling gates: %v", names))
}
