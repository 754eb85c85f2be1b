// Package autoscaling tests that a real cluster scales workloads by what their
// pods expose for Prometheus.
package autoscaling
