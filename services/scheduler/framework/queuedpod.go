package framework

import (
	"time"

	"navarch.dev/navarch/services/scheduler/snapshot"
)

// QueuedPod is a pod that waits for a node. The queue owns it; between Pop and
// the pod's return the scheduling loop does.
type QueuedPod struct {
	*snapshot.PodInfo
	// Attempts counts how often it has been tried.
	Attempts int
	// Added is when the queue first saw it, Since when it entered the queue
	// that holds it.
	Added, Since time.Time
	// RejectedBy are the plugins that rejected it in the last attempt. Empty
	// after an error.
	RejectedBy []string
	// Failure is the last attempt's message.
	Failure string
}
