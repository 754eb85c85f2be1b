package h2

import (
	"bytes"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"navarch.dev/navarch/internal/workers"
)

// client is a client that may send anything.
type client struct {
	t      testing.TB
	conn   net.Conn
	framer *http2.Framer
	block  bytes.Buffer
	fields *hpack.Encoder
	served chan struct{} // closed when the server is done with the connection
	seen   chan http2.Frame
	status map[uint32]string
}

// connect serves one connection without encryption.
func connect(t testing.TB, handler http.HandlerFunc) *client {
	t.Helper()
	return newServer().connect(t, handler)
}

func newServer() *server {
	return &server{
		workers: workers.New(), conns: make(map[*conn]struct{}), log: log.New(io.Discard, "", 0),
		maxStreams: 2, maxHeader: 4 << 10, idleTimeout: time.Minute,
	}
}

func (s *server) connect(t testing.TB, handler http.HandlerFunc) *client {
	t.Helper()
	ours, theirs := net.Pipe()
	c := &client{t: t, conn: ours, served: make(chan struct{}), seen: make(chan http2.Frame), status: make(map[uint32]string)}
	c.framer = http2.NewFramer(ours, ours)
	c.framer.AllowIllegalWrites = true
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.fields = hpack.NewEncoder(&c.block)
	go func() {
		defer close(c.served)
		defer func() { _ = theirs.Close() }()
		cn := newConn(t.Context(), s, theirs, handler)
		s.add(cn)
		cn.serve()
		s.remove(cn)
	}()
	go c.read()
	t.Cleanup(func() {
		_ = ours.Close()
		<-c.served
		s.shutdown()
	})
	return c
}

// read takes what the server sends, whether or not anybody looks at it.
func (c *client) read() {
	defer close(c.seen)
	for {
		f, err := c.framer.ReadFrame()
		if err != nil {
			return
		}
		switch f.(type) {
		case *http2.RSTStreamFrame, *http2.GoAwayFrame, *http2.MetaHeadersFrame, *http2.PingFrame:
		default:
			continue
		}
		select {
		case c.seen <- f:
		case <-c.t.Context().Done():
			return
		}
	}
}

func (c *client) greet() {
	_, _ = io.WriteString(c.conn, http2.ClientPreface)
	_ = c.framer.WriteSettings()
}

// headers sends a request's header with some fields changed or added; one without
// a value is left out.
func (c *client) headers(stream uint32, end bool, changes ...string) {
	c.block.Reset()
	changed := make(map[string]string)
	for n := 0; n < len(changes); n += 2 {
		changed[changes[n]] = changes[n+1]
	}
	for _, f := range [][2]string{{":method", "POST"}, {":scheme", "https"}, {":path", "/"}, {":authority", "here"}} {
		value, ok := changed[f[0]]
		if !ok {
			value = f[1]
		}
		delete(changed, f[0])
		if value != "" {
			_ = c.fields.WriteField(hpack.HeaderField{Name: f[0], Value: value})
		}
	}
	for name, value := range changed {
		_ = c.fields.WriteField(hpack.HeaderField{Name: name, Value: value})
	}
	c.block2(stream, end)
}

func (c *client) block2(stream uint32, end bool) {
	_ = c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: c.block.Bytes(), EndHeaders: true, EndStream: end})
}

// trailer sends fields alone.
func (c *client) trailer(stream uint32, end bool, name, value string) {
	c.block.Reset()
	_ = c.fields.WriteField(hpack.HeaderField{Name: name, Value: value})
	c.block2(stream, end)
}

// echo answers with the body that it has read as a whole.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(body)
}

// wait blocks until the client resets the stream.
func wait(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func TestWhatIsWrongEndsConnections(t *testing.T) {
	for name, tc := range map[string]struct {
		send func(c *client)
		code http2.ErrCode
	}{
		"another preface":       {func(c *client) { _, _ = io.WriteString(c.conn, "GET / HTTP/1.1\r\nHost: here\r\n\r\n") }, http2.ErrCodeProtocol},
		"an even stream":        {func(c *client) { c.greet(); c.headers(2, true) }, http2.ErrCodeProtocol},
		"a stream of the past":  {func(c *client) { c.greet(); c.headers(3, true); c.headers(1, true) }, http2.ErrCodeProtocol},
		"data of no stream":     {func(c *client) { c.greet(); _ = c.framer.WriteData(1, true, nil) }, http2.ErrCodeProtocol},
		"a window of no stream": {func(c *client) { c.greet(); _ = c.framer.WriteWindowUpdate(1, 1) }, http2.ErrCodeProtocol},
		"a reset of no stream":  {func(c *client) { c.greet(); _ = c.framer.WriteRSTStream(1, http2.ErrCodeCancel) }, http2.ErrCodeProtocol},
		"a pushed request": {func(c *client) {
			c.greet()
			_ = c.framer.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, EndHeaders: true})
		}, http2.ErrCodeProtocol},
		"no settings first": {func(c *client) {
			_, _ = io.WriteString(c.conn, http2.ClientPreface)
			_ = c.framer.WritePing(false, [8]byte{})
		}, http2.ErrCodeProtocol},
		"settings twice in a frame": {func(c *client) {
			c.greet()
			s := http2.Setting{ID: http2.SettingMaxFrameSize, Val: minFrame}
			_ = c.framer.WriteSettings(s, s)
		}, http2.ErrCodeProtocol},
		"frames too small": {func(c *client) {
			c.greet()
			_ = c.framer.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1})
		}, http2.ErrCodeProtocol},
		"a window too large": {func(c *client) {
			c.greet()
			_ = c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31})
		}, http2.ErrCodeFlowControl},
		"a window that grows too large": {func(c *client) {
			c.greet()
			_ = c.framer.WriteWindowUpdate(0, maxWindow)
		}, http2.ErrCodeFlowControl},
		"windows of streams that grow too large": {func(c *client) {
			c.greet()
			c.headers(1, false)
			_ = c.framer.WriteWindowUpdate(1, maxWindow-firstWindow)
			_ = c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: firstWindow + 1})
		}, http2.ErrCodeFlowControl},
		"a frame too large": {func(c *client) {
			c.greet()
			c.headers(1, false)
			_ = c.framer.WriteData(1, false, make([]byte, minFrame+1))
		}, http2.ErrCodeFrameSize},
		"broken compression": {func(c *client) {
			c.greet()
			_ = c.framer.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
		}, http2.ErrCodeCompression},
		"headers that are interrupted": {func(c *client) {
			c.greet()
			_ = c.framer.WriteRawFrame(http2.FrameHeaders, 0, 1, []byte{0x82})
			_ = c.framer.WritePing(false, [8]byte{})
		}, http2.ErrCodeProtocol},
		"more data than the windows hold": {func(c *client) {
			c.greet()
			c.headers(1, false)
			c.headers(3, false)
			for n := range 2 * receiveWindow / minFrame {
				_ = c.framer.WriteData(uint32(1+2*(n%2)), false, make([]byte, minFrame))
			}
		}, http2.ErrCodeFlowControl},
	} {
		t.Run(name, func(t *testing.T) {
			c := connect(t, wait)
			go tc.send(c)
			for f := range c.seen {
				if away, ok := f.(*http2.GoAwayFrame); ok {
					if away.ErrCode != tc.code {
						t.Errorf("the connection ends with %v, want %v", away.ErrCode, tc.code)
					}
					<-c.served
					return
				}
			}
			t.Error("the connection ended without a word")
		})
	}
}

func TestWhatIsWrongEndsStreams(t *testing.T) {
	for name, tc := range map[string]struct {
		send func(c *client)
		code http2.ErrCode
	}{
		"no path":                   {func(c *client) { c.headers(1, true, ":path", "") }, http2.ErrCodeProtocol},
		"a path that is none":       {func(c *client) { c.headers(1, true, ":path", "%zz") }, http2.ErrCodeProtocol},
		"no method":                 {func(c *client) { c.headers(1, true, ":method", "") }, http2.ErrCodeProtocol},
		"a tunnel":                  {func(c *client) { c.headers(1, true, ":method", "CONNECT") }, http2.ErrCodeProtocol},
		"another scheme":            {func(c *client) { c.headers(1, true, ":scheme", "ftp") }, http2.ErrCodeProtocol},
		"a user in the authority":   {func(c *client) { c.headers(1, true, ":authority", "me@here") }, http2.ErrCodeProtocol},
		"a name in upper case":      {func(c *client) { c.headers(1, true, "X-Upper", "1") }, http2.ErrCodeProtocol},
		"a value of two lines":      {func(c *client) { c.headers(1, true, "x-value", "a\r\nb: c") }, http2.ErrCodeProtocol},
		"an unknown pseudo header":  {func(c *client) { c.headers(1, true, ":path2", "/") }, http2.ErrCodeProtocol},
		"a header of connections":   {func(c *client) { c.headers(1, true, "connection", "close") }, http2.ErrCodeProtocol},
		"another transfer encoding": {func(c *client) { c.headers(1, true, "te", "gzip") }, http2.ErrCodeProtocol},
		"a length that is none":     {func(c *client) { c.headers(1, false, "content-length", "-1") }, http2.ErrCodeProtocol},
		"less than was declared, of nothing": {func(c *client) {
			c.headers(1, true, "content-length", "1")
		}, http2.ErrCodeProtocol},
		"less than was declared": {func(c *client) {
			c.headers(1, false, "content-length", "2")
			_ = c.framer.WriteData(1, true, []byte{'a'})
		}, http2.ErrCodeProtocol},
		"more than was declared": {func(c *client) {
			c.headers(1, false, "content-length", "2")
			_ = c.framer.WriteData(1, false, []byte("abc"))
		}, http2.ErrCodeProtocol},
		"trailers that do not end": {func(c *client) {
			c.headers(1, false)
			c.trailer(1, false, "x", "1")
		}, http2.ErrCodeProtocol},
		"a pseudo header at the end": {func(c *client) {
			c.headers(1, false)
			c.trailer(1, true, ":path", "/")
		}, http2.ErrCodeProtocol},
		"a window that grows too large": {func(c *client) {
			c.headers(1, false)
			_ = c.framer.WriteWindowUpdate(1, maxWindow)
		}, http2.ErrCodeFlowControl},
		"a window that does not grow": {func(c *client) {
			c.headers(1, false)
			_ = c.framer.WriteWindowUpdate(1, 0)
		}, http2.ErrCodeProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			c := connect(t, echo)
			go func() {
				c.greet()
				tc.send(c)
				c.headers(9, true)
			}()
			expect(t, c, 1, tc.code)
			if f, ok := (<-c.seen).(*http2.MetaHeadersFrame); !ok || f.StreamID != 9 || f.PseudoValue("status") != "200" {
				t.Errorf("the next request gets %v", f)
			}
		})
	}
}

// expect waits for the reset of a stream.
func expect(t *testing.T, c *client, stream uint32, code http2.ErrCode) {
	t.Helper()
	f := <-c.seen
	if reset, ok := f.(*http2.RSTStreamFrame); !ok || reset.StreamID != stream || reset.ErrCode != code {
		t.Fatalf("the server sends %v, want that stream %d ends with %v", f, stream, code)
	}
}

func TestDataAfterTheEnd(t *testing.T) {
	c := connect(t, wait)
	c.greet()
	c.headers(1, true)
	_ = c.framer.WriteData(1, true, []byte("more"))
	expect(t, c, 1, http2.ErrCodeStreamClosed)
}

func TestStreamsAreLimited(t *testing.T) {
	c := connect(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stubborn" {
			select {} // goes on though nobody listens
		}
		<-r.Context().Done()
	})
	c.greet()
	c.headers(1, true)
	c.headers(3, true, ":path", "/stubborn")
	c.headers(5, true)
	expect(t, c, 5, http2.ErrCodeRefusedStream)
	_ = c.framer.WriteRSTStream(3, http2.ErrCodeCancel)
	c.headers(7, true)
	expect(t, c, 7, http2.ErrCodeRefusedStream) // the handler still runs
}

func TestHeadersAreLimited(t *testing.T) {
	c := connect(t, echo)
	c.greet()
	c.headers(1, true, "x-long", strings.Repeat("x", 3000), "x-longer", strings.Repeat("y", 3000))
	if f, ok := (<-c.seen).(*http2.MetaHeadersFrame); !ok || f.PseudoValue("status") != "431" {
		t.Errorf("the answer is %v", f)
	}
}

func TestFloodsAreCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := connect(t, echo)
		go func() {
			c.greet()
			for c.framer.WritePing(false, [8]byte{1}) == nil { // until it is cut off
			}
		}()
		<-c.served // since nobody reads c.seen, no answer is taken
	})
}

func TestPing(t *testing.T) {
	c := connect(t, echo)
	c.greet()
	_ = c.framer.WritePing(false, [8]byte{1, 2, 3})
	if f, ok := (<-c.seen).(*http2.PingFrame); !ok || !f.IsAck() || f.Data != [8]byte{1, 2, 3} {
		t.Errorf("the answer is %v", f)
	}
}

// TestWhatIsSentIsNotHeld has an answer go on for long, as a watch does.
func TestWhatIsSentIsNotHeld(t *testing.T) {
	flushed := make(chan bool, 1)
	c := connect(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "an event")
		_ = http.NewResponseController(w).Flush()
		flushed <- w.(*response).hold == nil
		<-r.Context().Done()
	})
	go func() {
		for range c.seen { // it is read so that the server goes on
		}
	}()
	c.greet()
	c.headers(1, true)
	if !<-flushed {
		t.Error("what has been sent is still held")
	}
}

// TestEarlyAnswers has a request be answered before all of it has come.
func TestEarlyAnswers(t *testing.T) {
	c := connect(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusForbidden)
	})
	c.greet()
	c.headers(1, false)
	for _, want := range []string{"103", "403"} {
		if f, ok := (<-c.seen).(*http2.MetaHeadersFrame); !ok || f.PseudoValue("status") != want {
			t.Errorf("the answer is %v, want %s", f, want)
		}
	}
	expect(t, c, 1, http2.ErrCodeNo)
}

func TestShutdownOfLateConnections(t *testing.T) {
	s := newServer()
	s.shutdown()
	c := s.connect(t, echo)
	c.greet()
	if f, ok := (<-c.seen).(*http2.GoAwayFrame); !ok || f.ErrCode != http2.ErrCodeNo {
		t.Errorf("the server says %v", f)
	}
	c.headers(1, false) // which it has been told not to
	_ = c.framer.WriteData(1, true, []byte("x"))
	<-c.served
	select {
	case f, ok := <-c.seen:
		if ok {
			t.Errorf("the server sends %v", f)
		}
	default:
	}
}

// TestWindows has an answer wait for both windows.
func TestWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := 0
		c := connect(t, func(w http.ResponseWriter, _ *http.Request) {
			for range 4 {
				n, _ := w.Write(make([]byte, firstWindow))
				sent += n
			}
		})
		go func() {
			for range c.seen { // it is read so that the server goes on
			}
		}()
		c.greet()
		c.headers(1, true)
		for _, step := range []struct {
			widen func()
			want  int
		}{
			{func() {}, firstWindow},
			{func() { _ = c.framer.WriteWindowUpdate(1, 2*firstWindow) }, firstWindow},
			{func() { _ = c.framer.WriteWindowUpdate(0, firstWindow) }, 2 * firstWindow},
			{func() { _ = c.framer.WriteWindowUpdate(0, 9*firstWindow) }, 3 * firstWindow},
			{func() {
				_ = c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 2 * firstWindow})
			}, 4 * firstWindow},
		} {
			step.widen()
			synctest.Wait()
			if sent != step.want {
				t.Fatalf("sent %d, want %d", sent, step.want)
			}
		}
	})
}

func TestIdleConnectionsEnd(t *testing.T) {
	for name, tc := range map[string]struct {
		begin func(*client)
		after time.Duration
	}{
		"before the preface": {func(*client) {}, prefaceTimeout},
		"unused":             {func(c *client) { c.greet() }, time.Minute + closeGrace},
		"after a request": {func(c *client) {
			c.greet()
			time.Sleep(30 * time.Second)
			c.headers(1, true)
			<-c.seen
		}, time.Minute + 30*time.Second + closeGrace},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := connect(t, echo)
				began := time.Now()
				tc.begin(c)
				go func() {
					for range c.seen { // what comes does not matter
					}
				}()
				<-c.served
				if took := time.Since(began); took != tc.after {
					t.Errorf("it ended after %v, want %v", took, tc.after)
				}
			})
		})
	}
}

// TestAbandonedBodies has clients end requests whose bodies are being read.
func TestAbandonedBodies(t *testing.T) {
	failed := make(chan error, 1)
	c := connect(t, func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		failed <- err
	})
	c.greet()
	c.headers(1, false)
	_ = c.framer.WriteData(1, false, []byte("half"))
	_ = c.framer.WriteRSTStream(1, http2.ErrCodeCancel)
	if err := <-failed; !errors.Is(err, errGone) {
		t.Errorf("reading fails with %v, want %v", err, errGone)
	}
}

// FuzzConn sends anything after a good beginning.
func FuzzConn(f *testing.F) {
	var seed bytes.Buffer
	framer := http2.NewFramer(&seed, nil)
	var block bytes.Buffer
	fields := hpack.NewEncoder(&block)
	for _, field := range [][2]string{{":method", "POST"}, {":scheme", "https"}, {":path", "/"}, {"content-length", "3"}, {"trailer", "x"}} {
		_ = fields.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
	}
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
	_ = framer.WriteData(1, true, []byte("abc"))
	_ = framer.WritePing(false, [8]byte{})
	_ = framer.WriteWindowUpdate(0, 100)
	_ = framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
	_ = framer.WriteRSTStream(1, http2.ErrCodeCancel)
	_ = framer.WriteGoAway(0, http2.ErrCodeNo, nil)
	f.Add(seed.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		c := connect(t, echo)
		go func() {
			for range c.seen { // what comes does not matter
			}
		}()
		c.greet()
		_, _ = c.conn.Write(data)
	})
}
