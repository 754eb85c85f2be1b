// Package resilience kills, cuts and restarts the parts of real clusters and
// checks that nothing of what users rely on is lost. It holds tests only.
package resilience
