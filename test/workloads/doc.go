// Package workloads runs workloads on a real cluster of three nodes while
// controllers are killed, nodes are cut off and the load changes.
package workloads
