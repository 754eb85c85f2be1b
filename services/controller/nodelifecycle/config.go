// Package nodelifecycle watches the nodes' heartbeats. A node that has been
// silent for the grace period becomes Ready=Unknown, is tainted, and its pods
// are evicted when their tolerations end.
package nodelifecycle

import "time"

// DefaultGracePeriod is how long a node may be silent before it counts as
// gone.
const DefaultGracePeriod = 40 * time.Second
