// Package direct makes calls of gRPC that are many and small with few hand-offs
// between goroutines, each of which may have to wake a thread.
//
// gRPC's own client passes what is sent to a goroutine that writes, and what has
// come through several. Here who calls writes by itself, together with what others
// have to send meanwhile, and one goroutine of the connection reads:
//
//	caller ── frames ──▶ server ── frames ──▶ reader ── message ──▶ caller
//
// A Client has one connection, to one of its servers, beside a connection of gRPC's
// own. What it cannot do goes there: whatever is asked while it is not connected,
// and what is larger than what the server takes at once. Compression, per-call
// options and details of errors are none of its business.
package direct
