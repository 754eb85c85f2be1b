// Package grpcurl looks into every service with the stock grpcurl, which knows
// nothing of Navarch but what the services' reflection tells it.
package grpcurl
