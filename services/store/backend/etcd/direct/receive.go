package direct

import (
	"errors"
	"math"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// read takes frames until the connection ends.
func (c *conn) read() {
	for {
		f, err := c.framer.ReadFrame()
		c.heard.Store(int64(time.Since(c.began)))
		if err == nil {
			err = c.take(f)
		}
		if one, ok := errors.AsType[http2.StreamError](err); ok {
			c.mu.Lock()
			c.reset(c.streams[one.StreamID], status.Errorf(codes.Internal, "the answer is malformed: %v", err))
			c.mu.Unlock()
			continue
		}
		if err != nil {
			c.end(err)
			return
		}
	}
}

// take takes a frame. An error ends the connection, or only the stream.
func (c *conn) take(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.DataFrame:
		return c.data(f)
	case *http2.MetaHeadersFrame:
		return c.headers(f)
	case *http2.WindowUpdateFrame:
		return c.windowUpdate(f)
	case *http2.RSTStreamFrame:
		c.mu.Lock()
		defer c.mu.Unlock()
		if st := c.streams[f.StreamID]; st != nil {
			c.drop(st, status.Errorf(codes.Unavailable, "the server reset the stream: %v", f.ErrCode))
		}
	case *http2.SettingsFrame:
		return c.settings(f)
	case *http2.PingFrame:
		c.ping(f)
	case *http2.GoAwayFrame:
		c.goAway(f)
	case *http2.PushPromiseFrame: // which it was told not to send
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return nil // unknown frames and priorities mean nothing here
}

func (c *conn) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := f.ForeachSetting(c.setting); err != nil {
		return err
	}
	c.appendFrame(http2.FrameSettings, http2.FlagSettingsAck, 0, 0)
	c.room.Broadcast()
	c.flush()
	return nil
}

// setting takes one setting. The caller holds mu.
func (c *conn) setting(s http2.Setting) error {
	if err := s.Valid(); err != nil {
		return err
	}
	switch s.ID {
	case http2.SettingHeaderTableSize:
		c.fields.SetMaxDynamicTableSize(min(s.Val, tableSize))
	case http2.SettingMaxConcurrentStreams:
		c.most = s.Val
	case http2.SettingInitialWindowSize:
		growth := int64(s.Val) - c.first
		c.first = int64(s.Val)
		for _, st := range c.streams {
			if st.window += growth; st.window > math.MaxInt32 {
				return http2.ConnectionError(http2.ErrCodeFlowControl)
			}
		}
	}
	return nil
}

// ping takes a server's ping. gRPC's servers send one with every message that comes,
// to measure the connection, unless they wait for the answer to the last: who answers
// a little later is not woken for each message.
func (c *conn) ping(f *http2.PingFrame) {
	if f.IsAck() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pings) == 0 {
		time.AfterFunc(pingDelay, c.pong)
	}
	if len(c.pings) < mostPings { // more are not sent by who means to be answered
		c.pings = append(c.pings, f.Data)
	}
}

// pong answers the pings that have come.
func (c *conn) pong() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, data := range c.pings {
		c.appendFrame(http2.FramePing, http2.FlagPingAck, 0, pingSize)
		c.out = append(c.out, data[:]...)
	}
	c.pings = c.pings[:0]
	c.flush()
}

// goAway begins no more streams, and ends those that the server has not looked at.
func (c *conn) goAway(f *http2.GoAwayFrame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, st := range c.streams {
		if id > f.LastStreamID {
			c.drop(st, status.Errorf(codes.Unavailable, "the server goes away: %v", f.ErrCode))
		}
	}
	c.leave()
}

func (c *conn) windowUpdate(f *http2.WindowUpdateFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	window := &c.window
	if f.StreamID != 0 {
		st := c.streams[f.StreamID]
		if st == nil {
			return nil // it has ended
		}
		window = &st.window
	}
	if *window += int64(f.Increment); *window > math.MaxInt32 {
		return http2.ConnectionError(http2.ErrCodeFlowControl)
	}
	c.room.Broadcast()
	return nil
}

func (c *conn) data(f *http2.DataFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Padding counts, too. What a stream holds back its own window bounds.
	size := int(f.Length)
	if c.unsaid += size; c.unsaid >= connWindow/4 {
		c.appendWindowUpdate(0, c.unsaid)
		c.unsaid = 0
	}
	st := c.streams[f.StreamID]
	if st != nil {
		if err := st.add(f.Data()); err != nil {
			c.reset(st, err)
		} else if f.StreamEnded() {
			c.drop(st, status.Error(codes.Internal, "the server ended the stream without saying how the call went"))
		} else {
			st.credit(size)
		}
	}
	c.flush()
	return nil
}

func (c *conn) headers(f *http2.MetaHeadersFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.streams[f.StreamID]
	switch {
	case st == nil:
	case f.StreamEnded():
		c.drop(st, outcomeOf(f))
		if c.choosy && status.Code(st.err) == codes.Unavailable {
			c.leave() // another server may be better off
		}
	case st.answered:
		return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeProtocol}
	case f.PseudoValue("status") != "200":
		c.reset(st, outcomeOf(f))
	default:
		st.answered = true
	}
	return nil
}

// reset ends a stream that is of no use any more. The caller holds mu.
func (c *conn) reset(st *stream, why error) {
	if st == nil || st.err != nil || c.err != nil {
		return
	}
	c.appendReset(st.id)
	c.drop(st, why)
	c.flush()
}

// drop forgets a stream: nothing more comes or goes on it. The caller holds mu.
func (c *conn) drop(st *stream, why error) {
	st.err = why
	delete(c.streams, st.id)
	st.wake()
	c.room.Broadcast()
	if c.leaving && len(c.streams) == 0 {
		c.fail(errClosed)
	}
}

// outcomeOf returns what trailers say of how a call went; io.EOF if it went well.
func outcomeOf(f *http2.MetaHeadersFrame) error {
	var code, message string
	for _, field := range f.RegularFields() {
		switch field.Name {
		case "grpc-status":
			code = field.Value
		case "grpc-message":
			message = field.Value
		}
	}
	return outcome(f.PseudoValue("status"), code, message)
}
