// Package pods holds only tests: they run pods of every shape on one node of a
// real cluster, and check that they behave as on Kubernetes.
package pods
