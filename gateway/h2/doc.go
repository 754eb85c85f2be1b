// Package h2 is the gateway's HTTP/2 server (RFC 9113). It takes over the TLS
// connections of an http.Server on which a client has chosen HTTP/2.
//
// The server of net/http hands every frame of an answer from the handler's
// goroutine to one of the connection and waits for it to be written. To a thousand
// watchers an event is a thousand times that, and it was two thirds of what the event
// cost. Here a handler's goroutine appends its frames to what the connection is to
// send, under a lock, and goes on:
//
//	reader   one goroutine for each connection takes frames and begins requests
//	workers  (internal/workers) goroutines that serve one request after the other, of any connection
//	sender   sends what has been gathered. On a quiet connection it is the
//	         handler's own goroutine, so that a single answer is not held up; on a
//	         busy one a goroutine that lets all others run before, so that the
//	         events of many watches make one TLS record and one system call
//
// Frames are read and headers decoded and checked by golang.org/x/net/http2.
// Everything else that is a connection's is guarded by one lock, conn.mu.
package h2
