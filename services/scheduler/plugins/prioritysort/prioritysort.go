// Package prioritysort tries pods of higher priority first, and of equal
// priority the one that has waited longer.
package prioritysort

import "navarch.dev/navarch/services/scheduler/framework"

// Name of the plugin.
const Name = "PrioritySort"

// Plugin implements framework.QueueSort.
type Plugin struct{}

// New returns the plugin.
func New() *Plugin { return &Plugin{} }

// Name of the plugin.
func (*Plugin) Name() string { return Name }

// Less orders by priority, then by the time the pod entered the queue.
func (*Plugin) Less(a, b *framework.QueuedPod) bool {
	if pa, pb := a.Priority(), b.Priority(); pa != pb {
		return pa > pb
	}
	return a.Since.Before(b.Since)
}
