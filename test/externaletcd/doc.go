// Package externaletcd runs Stores on an etcd that is not their own.
package externaletcd
