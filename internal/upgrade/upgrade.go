// Package upgrade joins clients of exec, attach and port-forward to an agent's
// gRPC streams: their HTTP connection becomes a WebSocket or one of SPDY, by the
// protocols that kubectl and other clients of Kubernetes speak.
//
//	process.go          exec and attach
//	streams.go          their streams over WebSocket and SPDY
//	portforward.go      port-forward over SPDY, by itself or within a WebSocket
//	forwardchannels.go  port-forward over a WebSocket's channels
package upgrade

import (
	"context"
	"time"

	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

const (
	// idleTimeout ends a connection on which nothing has moved for so long.
	idleTimeout = 4 * time.Hour
	// setupTimeout is how long a client may take to open the streams that it
	// announced.
	setupTimeout = 30 * time.Second
	// copyBuffer is the most that is sent in one message.
	copyBuffer = 32 << 10
)

// Dial connects to the agent that a request is for. Calls are made in the
// context that it returns, which ends with the one that it is given.
type Dial func(context.Context) (context.Context, nodev1.NodeServiceClient, error)
