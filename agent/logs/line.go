package logs

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// ErrMalformed is a line that is not in the CRI format.
var ErrMalformed = errors.New("malformed log line")

// Line is one line of a log file.
type Line struct {
	Time   time.Time
	Stream Stream
	// Partial: the next line of the stream goes on with it.
	Partial bool
	// Text is without the line's end. It is part of the parsed slice.
	Text []byte
	// stamp is the time as it was written.
	stamp []byte
}

// Parse parses a line, with or without its end.
func Parse(line []byte) (Line, error) {
	line = bytes.TrimSuffix(line, []byte("\n"))
	stamp, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok {
		return Line{}, fmt.Errorf("%w: no stream", ErrMalformed)
	}
	written, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return Line{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	stream, rest, ok := bytes.Cut(rest, []byte(" "))
	if !ok || string(stream) != string(StreamStdout) && string(stream) != string(StreamStderr) {
		return Line{}, fmt.Errorf("%w: stream %q", ErrMalformed, stream)
	}
	tags, text, ok := bytes.Cut(rest, []byte(" "))
	if !ok {
		return Line{}, fmt.Errorf("%w: no text", ErrMalformed)
	}
	// Further tags may follow the first, after colons.
	tag, _, _ := bytes.Cut(tags, []byte(":"))
	if string(tag) != "F" && string(tag) != "P" {
		return Line{}, fmt.Errorf("%w: tag %q", ErrMalformed, tag)
	}
	return Line{Time: written, Stream: Stream(stream), Partial: tag[0] == 'P', Text: text, stamp: stamp}, nil
}

// appendTo adds the line as a reader of the log wants it.
func (l Line) appendTo(out []byte, timestamps bool) []byte {
	if timestamps {
		out = append(append(out, l.stamp...), ' ')
	}
	out = append(out, l.Text...)
	if !l.Partial {
		out = append(out, '\n')
	}
	return out
}
