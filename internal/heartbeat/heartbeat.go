// Package heartbeat is what agents, Stores and the node lifecycle controller
// agree on about the agents' heartbeat streams.
//
// An agent keeps one stream open to whichever Store it reaches, and names it in
// its Lease. A Store that loses the stream notes that on the Lease, where the
// controller sees it, whichever Store it watches. An agent that lives opens
// another stream and renews the Lease with its name; that takes the note's force.
// So a broken stream only makes a node suspect: whether it is lost, the Lease
// alone decides.
package heartbeat

import (
	coordinationv1 "k8s.io/api/coordination/v1"
)

// Annotations of a node's Lease.
const (
	// StreamAnnotation names the agent's present stream.
	StreamAnnotation = "heartbeat.navarch.dev/stream"
	// BrokenAnnotation names the stream that a Store has lost.
	BrokenAnnotation = "heartbeat.navarch.dev/broken"
)

// Broken says whether the stream that the agent named last has been lost.
func Broken(l *coordinationv1.Lease) bool {
	stream := l.Annotations[StreamAnnotation]
	return stream != "" && stream == l.Annotations[BrokenAnnotation]
}
