package direct

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// speaker is the server's end of a connection, which says what a test has it say.
type speaker struct {
	*http2.Framer
	t       testing.TB
	encoder *hpack.Encoder
	encoded bytes.Buffer
	// pings counts those that have been answered, which none is by who is mute.
	pings atomic.Int64
	mute  atomic.Bool
	pongs chan [pingSize]byte
	// saying is held while something is said that the test does not say.
	saying sync.Mutex
}

// greeted returns both ends of a connection, in a bubble of synctest.
func greeted(t *testing.T, settings ...http2.Setting) (*conn, *speaker) {
	t.Helper()
	near, far := net.Pipe()
	s := &speaker{Framer: http2.NewFramer(far, far), t: t, pongs: make(chan [pingSize]byte, 100)}
	s.encoder = hpack.NewEncoder(&s.encoded)
	go func() {
		if _, err := io.ReadFull(far, make([]byte, len(http2.ClientPreface))); err != nil {
			t.Error(err)
		}
		go func() {
			s.saying.Lock()
			defer s.saying.Unlock()
			_ = s.WriteSettings(settings...)
		}()
		for {
			f, err := s.ReadFrame()
			if err != nil {
				return
			}
			p, ok := f.(*http2.PingFrame)
			if ok && p.IsAck() {
				s.pongs <- p.Data
			} else if ok && !s.mute.Load() {
				s.pings.Add(1)
				go s.pong(p.Data)
			}
		}
	}()
	c := newConn(near, "http", "test", nil)
	if err := c.greet(t.Context()); err != nil {
		t.Fatal(err)
	}
	go c.read()
	t.Cleanup(func() { _ = far.Close() })
	synctest.Wait()
	return c, s
}

func (s *speaker) pong(data [8]byte) {
	s.saying.Lock()
	defer s.saying.Unlock()
	_ = s.WritePing(true, data)
}

func (s *speaker) headers(stream uint32, end bool, fields ...string) {
	s.encoded.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = s.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	s.must(s.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: s.encoded.Bytes(), EndHeaders: true, EndStream: end}))
}

func (s *speaker) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Error(err)
	}
}

// answer answers a call as it should be.
func (s *speaker) answer(stream uint32) {
	s.headers(stream, false, ":status", "200")
	s.must(s.WriteData(stream, false, []byte{0, 0, 0, 0, 0}))
	s.headers(stream, true, "grpc-status", "0")
}

func request(c *conn) *stream {
	message, _ := encode(wrapperspb.Bytes([]byte("x")))
	return c.call(context.Background(), "/test/echo", message)
}

func TestAnswers(t *testing.T) {
	for _, test := range []struct {
		name string
		say  func(s *speaker)
		code codes.Code
		// lost says that the connection is of no use after that.
		lost bool
	}{
		{"well", func(s *speaker) { s.answer(1) }, codes.OK, false},
		{"in pieces", func(s *speaker) {
			s.headers(1, false, ":status", "200")
			for _, b := range []byte{0, 0, 0, 0, 2, 8, 1} {
				s.must(s.WriteData(1, false, []byte{b}))
			}
			s.headers(1, true, "grpc-status", "0")
		}, codes.OK, false},
		{"padded", func(s *speaker) {
			s.headers(1, false, ":status", "200")
			s.must(s.WriteDataPadded(1, false, []byte{0, 0, 0, 0, 0}, make([]byte, 100)))
			s.headers(1, true, "grpc-status", "0")
		}, codes.OK, false},
		{"an error at once", func(s *speaker) { s.headers(1, true, ":status", "200", "grpc-status", "5") }, codes.NotFound, false},
		{"an error of HTTP", func(s *speaker) { s.headers(1, true, ":status", "503") }, codes.Unavailable, false},
		{"an error of HTTP with a body", func(s *speaker) {
			s.headers(1, false, ":status", "404")
			s.must(s.WriteData(1, true, []byte("not found")))
		}, codes.Unavailable, false},
		{"a status that is none", func(s *speaker) { s.headers(1, true, ":status", "200", "grpc-status", "well") }, codes.Unavailable, false},
		{"no message", func(s *speaker) {
			s.headers(1, false, ":status", "200")
			s.headers(1, true, "grpc-status", "0")
		}, codes.Internal, false},
		{"half a message", func(s *speaker) {
			s.headers(1, false, ":status", "200")
			s.must(s.WriteData(1, false, []byte{0, 0, 0, 0, 9, 1}))
			s.headers(1, true, "grpc-status", "0")
		}, codes.Internal, false},
		{"two messages", func(s *speaker) {
			s.headers(1, false, ":status", "200")
			s.must(s.WriteData(1, false, make([]byte, 2*prefix)))
			s.headers(1, true, "grpc-status", "0")
		}, codes.Internal, false},
		{"compressed", func(s *speaker) {
			s.headers(1, false, ":status", "200")
			s.must(s.WriteData(1, false, []byte{1, 0, 0, 0, 0}))
		}, codes.Internal, false},
		{"an end without a status", func(s *speaker) {
			s.headers(1, false, ":status", "200")
			s.must(s.WriteData(1, true, make([]byte, prefix)))
		}, codes.Internal, false},
		{"two beginnings", func(s *speaker) {
			s.headers(1, false, ":status", "200")
			s.headers(1, false, ":status", "200")
		}, codes.Internal, false},
		{"a reset", func(s *speaker) { s.must(s.WriteRSTStream(1, http2.ErrCodeRefusedStream)) }, codes.Unavailable, false},
		{"other streams", func(s *speaker) {
			s.must(s.WriteData(99, false, []byte("x")))
			s.headers(99, true, "grpc-status", "0")
			s.must(s.WriteRSTStream(99, http2.ErrCodeCancel))
			s.must(s.WriteWindowUpdate(99, 1))
			s.answer(1)
		}, codes.OK, false},
		{"it goes away", func(s *speaker) { s.must(s.WriteGoAway(0, http2.ErrCodeNo, nil)) }, codes.Unavailable, true},
		{"it goes away after the answer", func(s *speaker) {
			s.must(s.WriteGoAway(1, http2.ErrCodeNo, nil))
			s.answer(1)
		}, codes.OK, true},
		{"a window too large", func(s *speaker) { s.must(s.WriteWindowUpdate(0, 1<<31-1)) }, codes.Unavailable, true},
		{"a stream's window too large", func(s *speaker) { s.must(s.WriteWindowUpdate(1, 1<<31-1)) }, codes.Unavailable, true},
		{"a promise", func(s *speaker) {
			s.must(s.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, EndHeaders: true}))
		}, codes.Unavailable, true},
		{"a setting out of bounds", func(s *speaker) {
			s.must(s.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31}))
		}, codes.Unavailable, true},
		{"an unknown frame", func(s *speaker) {
			s.must(s.WriteRawFrame(0xee, 0, 0, []byte("x")))
			s.answer(1)
		}, codes.OK, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, s := greeted(t)
				st := request(c)
				test.say(s)
				_, err := st.answer(t.Context())
				if status.Code(err) != test.code {
					t.Errorf("the call ended with %v, want %s", err, test.code)
				}
				synctest.Wait()
				if c.usable() == test.lost {
					t.Errorf("that the connection is of no use is %t, want %t", !c.usable(), test.lost)
				}
				c.end(errClosed)
			})
		})
	}
}

// No more streams are begun than the server allows, nor more sent than it takes.
func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := greeted(t, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 8})
		st := request(c)
		if st == nil {
			t.Fatal("the first call is not made")
		}
		if request(c) != nil {
			t.Error("a second call is made at the same time")
		}
		s.answer(1)
		if _, err := st.answer(t.Context()); err != nil {
			t.Error(err)
		}
		message, _ := encode(wrapperspb.Bytes([]byte("long")))
		if c.call(t.Context(), "/test/echo", message) != nil {
			t.Error("a call is made that the server does not take at once")
		}
		long := c.stream(t.Context(), "/test/echo")
		sent := make(chan error)
		go func() { sent <- long.SendMsg(wrapperspb.Bytes([]byte("long"))) }()
		synctest.Wait()
		select {
		case err := <-sent:
			t.Errorf("a message is sent that the server does not take: %v", err)
		default:
		}
		s.must(s.WriteWindowUpdate(long.id, 100))
		if err := <-sent; err != nil {
			t.Error(err)
		}
		c.end(errClosed)
	})
}

// A stream's numbers are used up; the connection ends with the last stream.
func TestLastStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := greeted(t)
		c.next = lastStream
		st := request(c)
		if c.usable() || request(c) != nil {
			t.Error("there are streams after the last")
		}
		s.answer(lastStream)
		if _, err := st.answer(t.Context()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if c.err == nil {
			t.Error("the connection stays")
		}
	})
}

// A server that says nothing is asked for a sign of life.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := greeted(t)
		st := c.stream(t.Context(), "/test/echo")
		time.Sleep(10 * quiet)
		synctest.Wait()
		if !c.usable() || s.pings.Load() == 0 {
			t.Errorf("after a while the connection of a server that lives is usable: %t, it got %d pings", c.usable(), s.pings.Load())
		}
		s.mute.Store(true)
		if err := st.RecvMsg(new(wrapperspb.BytesValue)); status.Code(err) != codes.Unavailable {
			t.Errorf("the stream ended with %v", err)
		}
	})
}

// Pings are answered, a little later.
func TestPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := greeted(t)
		began := time.Now()
		for n := range byte(2 * mostPings) {
			s.must(s.WritePing(false, [pingSize]byte{n}))
		}
		for n := range byte(mostPings) {
			if got := <-s.pongs; got[0] != n {
				t.Errorf("ping %d is answered as %d", n, got[0])
			}
		}
		if late := time.Since(began); late != pingDelay {
			t.Errorf("they are answered after %s", late)
		}
		s.must(s.WritePing(false, [pingSize]byte{99}))
		if got := <-s.pongs; got[0] != 99 {
			t.Errorf("the next ping is answered as %d", got[0])
		}
		c.end(errClosed)
	})
}

// A call that a server lets wait for long without a sign of life ends the connection.
func TestUnanswered(t *testing.T) {
	for _, test := range []struct {
		waits time.Duration
		lost  bool
	}{{silence / 2, false}, {2 * silence, true}} {
		synctest.Test(t, func(t *testing.T) {
			c, _ := greeted(t)
			ctx, cancel := context.WithTimeout(t.Context(), test.waits)
			defer cancel()
			if _, err := request(c).answer(ctx); status.Code(err) != codes.DeadlineExceeded {
				t.Errorf("the call ended with %v", err)
			}
			if c.usable() == test.lost {
				t.Errorf("after %s the connection is usable: %t", test.waits, c.usable())
			}
			c.end(errClosed)
		})
	}
}

// What a server sends can end a connection, but nothing else.
func FuzzRead(f *testing.F) {
	var say bytes.Buffer
	s := &speaker{Framer: http2.NewFramer(&say, nil), t: f}
	s.encoder = hpack.NewEncoder(&s.encoded)
	s.answer(1)
	f.Add(say.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		c := newConn(silent{bytes.NewReader(data)}, "http", "test", nil)
		st, many := request(c), c.stream(t.Context(), "/test/echo")
		c.read()
		if c.err == nil || st.err == nil || many.err == nil {
			t.Errorf("the connection ended with %v, streams with %v and %v", c.err, st.err, many.err)
		}
	})
}

// silent is a connection on which nothing is heard of what is sent.
type silent struct{ io.Reader }

func (silent) Write(p []byte) (int, error)      { return len(p), nil }
func (silent) Close() error                     { return nil }
func (silent) LocalAddr() net.Addr              { return nil }
func (silent) RemoteAddr() net.Addr             { return nil }
func (silent) SetDeadline(time.Time) error      { return nil }
func (silent) SetReadDeadline(time.Time) error  { return nil }
func (silent) SetWriteDeadline(time.Time) error { return nil }
