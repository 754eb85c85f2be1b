// Package storage tests persistent volumes on a real cluster of two nodes.
package storage
