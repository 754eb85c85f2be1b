package logs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// readBuffer is how much of a file is read at a time.
const readBuffer = 64 << 10

// Read writes the lines of the log at path that opts choose to w. It begins with
// the oldest rotated file that is left. A log that does not exist is empty; with
// Follow it is waited for. When ctx ends while following, it returns ctx's error.
func Read(ctx context.Context, path string, opts Options, w io.Writer) error {
	r := &reader{path: path, opts: opts, out: w, partial: map[Stream]bool{}, skipping: map[Stream]bool{}}
	if opts.LimitBytes != nil {
		r.limited, r.left = true, *opts.LimitBytes
	}
	err := r.run(ctx)
	r.closeFile()
	switch {
	case err == nil, errors.Is(err, errLimit):
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fmt.Errorf("read log %s: %w", path, err)
}

// errLimit ends reading at LimitBytes.
var errLimit = errors.New("limit reached")

// reader is one call of Read.
type reader struct {
	path string
	opts Options
	out  io.Writer

	limited bool
	left    int64
	// partial and skipping are by stream: in the middle of a long line, and whether
	// that line is left out.
	partial, skipping map[Stream]bool

	file   *os.File
	buffer *bufio.Reader
	// rest is the beginning of a line whose end is not written yet.
	rest  []byte
	lines []byte
}

func (r *reader) run(ctx context.Context) error {
	var watch *watcher
	if r.opts.Follow {
		var err error
		// Before the first read, so that no change is missed.
		if watch, err = newWatcher(r.path); err != nil {
			return err
		}
		defer watch.close()
	}
	if err := r.seek(ctx); err != nil {
		return err
	}
	for {
		finished := isClosed(r.opts.Finished) // before reading: what is written before the end is read
		if err := r.drain(ctx); err != nil {
			return err
		}
		if watch == nil || finished {
			return r.flushRest()
		}
		if err := watch.wait(ctx, r.opts.Finished); err != nil {
			return err
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// drain reads all there is, file after file.
func (r *reader) drain(ctx context.Context) error {
	for {
		if r.file != nil {
			if err := r.readToEnd(ctx); err != nil {
				return err
			}
		}
		moved, err := r.advance()
		if err != nil || !moved {
			return err
		}
	}
}

// readToEnd writes the lines of the open file up to its present end.
func (r *reader) readToEnd(ctx context.Context) error {
	for ctx.Err() == nil {
		part, err := r.buffer.ReadSlice('\n')
		r.rest = append(r.rest, part...)
		switch {
		case err == nil:
			if err := r.emit(r.rest); err != nil {
				return err
			}
			r.rest = r.rest[:0]
		case errors.Is(err, io.EOF):
			return r.flush()
		case !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
	return ctx.Err()
}

// flushRest writes a last line without an end: the shim was killed while writing.
func (r *reader) flushRest() error {
	if len(r.rest) == 0 {
		return nil
	}
	err := r.emit(r.rest)
	r.rest = r.rest[:0]
	if err != nil {
		return err
	}
	return r.flush()
}

// emit adds a line to what is to be written, if it is chosen. Malformed ones are
// left out.
func (r *reader) emit(raw []byte) error {
	line, err := Parse(raw)
	if err != nil {
		return nil //nolint:nilerr // one bad line does not end the reading
	}
	begins := !r.partial[line.Stream]
	r.partial[line.Stream] = line.Partial
	if begins {
		r.skipping[line.Stream] = !r.chosen(line)
	}
	if r.skipping[line.Stream] {
		return nil
	}
	r.lines = line.appendTo(r.lines, r.opts.Timestamps && begins)
	if len(r.lines) >= readBuffer {
		return r.flush()
	}
	return nil
}

func (r *reader) chosen(line Line) bool {
	if r.opts.Stream != StreamAll && line.Stream != r.opts.Stream {
		return false
	}
	return !line.Time.Before(r.opts.Since)
}

// flush writes what was gathered, up to the limit.
func (r *reader) flush() error {
	lines := r.lines
	r.lines = r.lines[:0]
	if r.limited && int64(len(lines)) >= r.left {
		if _, err := r.out.Write(lines[:r.left]); err != nil {
			return err
		}
		return errLimit
	}
	if len(lines) == 0 {
		return nil
	}
	n, err := r.out.Write(lines)
	r.left -= int64(n)
	return err
}
