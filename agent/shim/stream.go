package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// streamChunk is how much standard input is sent in one frame.
const streamChunk = 32 << 10

// stream makes a call and carries its streams until the exit frame.
func (c *Client) stream(ctx context.Context, request Request, streams Streams) (Exit, error) {
	conn, _, err := c.open(ctx, request)
	if err != nil {
		return Exit{}, err
	}
	closeConn := closeOnDone(ctx, conn)
	done := make(chan struct{})
	defer closeConn()
	defer close(done)
	out := &frameWriter{conn: conn}
	if streams.Stdin != nil {
		// Not waited for: a Read of the caller's may block for ever.
		go out.copyStdin(streams.Stdin)
	}
	if streams.Resize != nil {
		go out.forwardSizes(streams.Resize, done)
	}
	exit, err := receive(conn, streams)
	return exit, firstErrorIf(ctx, err)
}

func firstErrorIf(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	return firstError(ctx, err)
}

// receive hands output on until the exit frame.
func receive(conn net.Conn, streams Streams) (Exit, error) {
	for {
		kind, payload, err := ReadFrame(conn)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return Exit{}, fmt.Errorf("read stream from the shim: %w", err)
		}
		switch kind {
		case FrameStdout:
			err = writeTo(streams.Stdout, payload)
		case FrameStderr:
			err = writeTo(streams.Stderr, payload)
		case FrameExit:
			var exit Exit
			err = json.Unmarshal(payload, &exit)
			return exit, err
		}
		if err != nil {
			return Exit{}, fmt.Errorf("hand on output: %w", err)
		}
	}
}

func writeTo(w io.Writer, data []byte) error {
	if w == nil {
		return nil
	}
	_, err := w.Write(data)
	return err
}

// frameWriter shares the sending side of a connection.
type frameWriter struct {
	mu   sync.Mutex
	conn net.Conn
}

func (f *frameWriter) write(kind byte, payload []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return WriteFrame(f.conn, kind, payload)
}

// copyStdin sends r until it ends or the connection does.
func (f *frameWriter) copyStdin(r io.Reader) {
	buffer := make([]byte, streamChunk)
	for {
		n, err := r.Read(buffer)
		if n > 0 && f.write(FrameStdin, buffer[:n]) != nil {
			return
		}
		if err != nil {
			_ = f.write(FrameStdinClosed, nil)
			return
		}
	}
}

func (f *frameWriter) forwardSizes(sizes <-chan Size, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case size, ok := <-sizes:
			if !ok {
				return
			}
			payload, err := json.Marshal(size)
			if err != nil || f.write(FrameResize, payload) != nil {
				return
			}
		}
	}
}
