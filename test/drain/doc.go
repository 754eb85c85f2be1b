// Package drain tests that a node of a real cluster can be emptied without an
// application noticing.
package drain
