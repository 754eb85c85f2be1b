// Package scheduler tests the scheduler of a whole cluster, as its
// configuration file and its users' tools see it.
package scheduler
