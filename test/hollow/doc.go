// Package hollow runs hollow nodes against a real control plane. It holds tests
// only.
package hollow
