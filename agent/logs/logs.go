// Package logs reads containers' log files in the CRI format, which the shims
// write (see agent/shim):
//
//	2026-01-02T15:04:05.000000006Z stdout F a whole line
//	2026-01-02T15:04:05.000000007Z stderr P the first part of a long line
//
// A log that reached its size limit is renamed to <path>.<time> and a new file
// is begun; the times sort as text in the order of rotation.
package logs

import (
	"time"
)

// Stream is one of a container's output streams.
type Stream string

const (
	// StreamAll is both streams, in the order they were written.
	StreamAll Stream = ""
	// StreamStdout is the standard output.
	StreamStdout Stream = "stdout"
	// StreamStderr is the standard error output.
	StreamStderr Stream = "stderr"
)

// Options choose what Read returns.
type Options struct {
	// Follow waits for more until Finished is closed or the context ends.
	Follow bool
	// Finished is closed once the container has ended: Read then returns after
	// the last line. nil: it never ends.
	Finished <-chan struct{}
	// Timestamps puts each line's time before it.
	Timestamps bool
	// Since leaves out older lines.
	Since time.Time
	// TailLines begins that many lines before the end. Rotated files count.
	TailLines *int64
	// LimitBytes ends after that many bytes.
	LimitBytes *int64
	// Stream leaves out the other stream.
	Stream Stream
}
