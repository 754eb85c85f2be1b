package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sync/errgroup"
)

// caller makes one request after the other on a connection of its own.
type caller interface {
	// call sends a request and drops the answer. What is no success is an error.
	call(ctx context.Context, r request) error
	close()
}

// callerKind is a way of making requests. What a request costs the client comes
// out of the cores that the servers share, so that with a costly one the ratio
// says more about the client than about them.
type callerKind struct {
	name string // what follows the figure's name
	tag  string // in the names of objects
	// judged says that targets are set for it.
	judged bool
	dial   func(ctx context.Context, s *server) (caller, error)
}

// callerKinds are a client that does as little as HTTP/2 allows, as load
// generators do, and Go's, which is what client-go has. To the servers both are
// the same: a TLS connection each, HTTP/2, one request at a time.
func callerKinds() []callerKind {
	return []callerKind{
		{name: "plain HTTP/2", tag: "plain", judged: true, dial: dialWire},
		{name: "client-go's HTTP/2", tag: "go", dial: dialGo},
	}
}

// dialAll makes so many connections of the plain kind, each of which has been
// used once.
func (s *server) dialAll(ctx context.Context, count int) ([]caller, error) {
	var out []caller
	for range count {
		c, err := dialWire(ctx, s)
		if err == nil {
			out = append(out, c)
			err = c.call(ctx, request{method: http.MethodGet, path: "/version"})
		}
		if err != nil {
			closeAll(out)
			return nil, err
		}
	}
	return out, nil
}

// callAll shares requests out among callers, each of which makes one at a time.
func callAll(ctx context.Context, callers []caller, requests []request) error {
	g, ctx := errgroup.WithContext(ctx)
	for i, c := range callers {
		g.Go(func() error {
			for n := i; n < len(requests) && ctx.Err() == nil; n += len(callers) {
				if err := c.call(ctx, requests[n]); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}

func closeAll(callers []caller) {
	for _, c := range callers {
		c.close()
	}
}

// goCaller is net/http's client.
type goCaller struct {
	server *server
	client *http.Client
}

func dialGo(_ context.Context, s *server) (caller, error) {
	return goCaller{server: s, client: s.client()}, nil
}

func (c goCaller) call(ctx context.Context, r request) error {
	_, err := c.server.do(ctx, c.client, r)
	return err
}

func (c goCaller) close() { c.client.CloseIdleConnections() }

// wire is an HTTP/2 connection on which one request is made at a time, in one
// write, by the goroutine that waits for the answer. It keeps the protocol, and
// leaves out what no such connection needs: multiplexing, windows that close.
type wire struct {
	conn   *tls.Conn
	detach func() bool // keeps conn open when the context ends
	host   string
	framer *http2.Framer
	out    bytes.Buffer // what the framer has written
	block  bytes.Buffer // what the encoder has written
	fields *hpack.Encoder
	decode *hpack.Decoder
	status string
	stream uint32 // the next one's number
	read   uint32 // bytes that the server has not been told of
}

const (
	// wireWindow is how much the server may send before it is told to go on.
	wireWindow = 1 << 30
	// wireFrame is the longest frame that is taken.
	wireFrame = 1 << 20
)

func dialWire(ctx context.Context, s *server) (caller, error) {
	config := s.tls.Clone()
	config.NextProtos = []string{http2.NextProtoTLS}
	host := strings.TrimPrefix(s.url, "https://")
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", s.name, err)
	}
	w := &wire{conn: conn.(*tls.Conn), host: host, stream: 1}
	w.detach = context.AfterFunc(ctx, func() { _ = conn.Close() })
	w.framer = http2.NewFramer(&w.out, conn)
	w.framer.SetReuseFrames()
	w.framer.SetMaxReadFrameSize(wireFrame)
	w.fields = hpack.NewEncoder(&w.block)
	w.decode = hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if f.Name == ":status" {
			w.status = f.Value
		}
	})
	_, _ = w.out.WriteString(http2.ClientPreface)
	return w, errors.Join(
		w.framer.WriteSettings(
			http2.Setting{ID: http2.SettingEnablePush, Val: 0},
			http2.Setting{ID: http2.SettingInitialWindowSize, Val: wireWindow},
			http2.Setting{ID: http2.SettingMaxFrameSize, Val: wireFrame}),
		w.framer.WriteWindowUpdate(0, wireWindow))
}

func (w *wire) close() {
	w.detach()
	_ = w.conn.Close()
}

func (w *wire) call(_ context.Context, r request) error {
	stream := w.stream
	w.stream += 2
	if err := w.send(stream, r); err != nil {
		return fmt.Errorf("%s %s: %w", r.method, r.path, err)
	}
	w.status = ""
	for {
		ended, err := w.receive(stream)
		if err != nil {
			return fmt.Errorf("%s %s: %w", r.method, r.path, err)
		}
		if !ended {
			continue
		}
		if code, err := strconv.Atoi(w.status); err != nil || code < 200 || code >= 300 {
			return fmt.Errorf("%s %s: status %q", r.method, r.path, w.status)
		}
		return nil
	}
}

// send sends a request in one write, and what has been held back for it.
func (w *wire) send(stream uint32, r request) error {
	w.block.Reset()
	fields := []hpack.HeaderField{
		{Name: ":method", Value: r.method}, {Name: ":scheme", Value: "https"},
		{Name: ":authority", Value: w.host}, {Name: ":path", Value: r.path},
		{Name: "user-agent", Value: "peers"}, {Name: "content-type", Value: r.contentType}, {Name: "accept", Value: r.accept},
	}
	for _, f := range fields {
		if f.Value == "" {
			continue
		}
		if err := w.fields.WriteField(f); err != nil {
			return err
		}
	}
	err := w.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: w.block.Bytes(), EndHeaders: true, EndStream: len(r.body) == 0,
	})
	if err == nil && len(r.body) > 0 {
		err = w.framer.WriteData(stream, true, r.body)
	}
	if err != nil {
		return err
	}
	_, err = w.conn.Write(w.out.Bytes())
	w.out.Reset()
	return err
}

// receive reads a frame. It returns true after the last one of a stream.
func (w *wire) receive(stream uint32) (ended bool, err error) {
	frame, err := w.framer.ReadFrame()
	if err != nil {
		return false, err
	}
	switch f := frame.(type) {
	case *http2.HeadersFrame:
		if !f.HeadersEnded() {
			return false, errors.New("the answer has more headers than the client takes")
		}
		_, err := w.decode.Write(f.HeaderBlockFragment())
		return f.StreamEnded() && f.StreamID == stream, err
	case *http2.DataFrame:
		if w.read += f.Length; w.read > wireWindow/2 {
			err, w.read = w.framer.WriteWindowUpdate(0, w.read), 0
		}
		return f.StreamEnded() && f.StreamID == stream, err
	case *http2.SettingsFrame:
		if !f.IsAck() {
			err = w.framer.WriteSettingsAck() // goes with the next request
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			err = w.framer.WritePing(true, f.Data)
		}
	case *http2.RSTStreamFrame:
		return false, fmt.Errorf("the stream was reset: %v", f.ErrCode)
	case *http2.GoAwayFrame:
		return false, fmt.Errorf("the server goes away: %v: %w", f.ErrCode, io.ErrUnexpectedEOF)
	}
	return false, err
}
