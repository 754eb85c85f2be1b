package h2

import (
	"errors"
	"net/http"

	"golang.org/x/net/http2"
)

// credit is how much a client may send.
type credit struct {
	// window is how much it may still send, as it knows.
	window int
	// unsaid is how much more it could send, which it has not been told.
	unsaid int
}

// take notes that so much has come. It returns false if that was too much.
func (cr *credit) take(n int) bool {
	cr.window -= n
	return cr.window >= 0
}

// give notes that so much has been read, and returns by how much the client is to
// be told to go on. It is told of much at a time.
func (cr *credit) give(n int) int {
	cr.unsaid += n
	if cr.unsaid < receiveWindow/4 {
		return 0
	}
	n, cr.unsaid = cr.unsaid, 0
	cr.window += n
	return n
}

// consumed lets the client send n bytes more on the connection and, unless it is
// nil or has ended, the stream. The caller holds mu.
func (c *conn) consumed(st *stream, n int) {
	if n <= 0 || c.err != nil {
		return
	}
	if more := c.credit.give(n); more > 0 {
		c.appendWindowUpdate(0, more)
	}
	if st != nil && st.err == nil && !st.received {
		if more := st.credit.give(n); more > 0 {
			c.appendWindowUpdate(st.id, more)
		}
	}
	c.kick(nil)
}

func (c *conn) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	if f.HasDuplicates() {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := f.ForeachSetting(c.setting); err != nil {
		return err
	}
	c.appendFrame(http2.FrameSettings, http2.FlagSettingsAck, 0, 0)
	c.kick(nil) // which wakes who waits for a window
	return c.flooded()
}

// setting takes one setting. The caller holds mu.
func (c *conn) setting(s http2.Setting) error {
	if err := s.Valid(); err != nil {
		return err
	}
	switch s.ID {
	case http2.SettingHeaderTableSize:
		c.fields.SetMaxDynamicTableSize(min(s.Val, tableSize))
	case http2.SettingMaxFrameSize:
		c.frame = min(int(s.Val), maxFrame)
	case http2.SettingInitialWindowSize:
		growth := int64(s.Val) - c.first
		c.first = int64(s.Val)
		for _, st := range c.streams {
			if st.window += growth; st.window > maxWindow {
				return http2.ConnectionError(http2.ErrCodeFlowControl)
			}
		}
	}
	return nil
}

func (c *conn) ping(f *http2.PingFrame) error {
	if f.IsAck() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.appendFrame(http2.FramePing, http2.FlagPingAck, 0, len(f.Data))
	c.out = append(c.out, f.Data[:]...)
	c.kick(nil)
	return c.flooded()
}

func (c *conn) windowUpdate(f *http2.WindowUpdateFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	more := int64(f.Increment)
	if f.StreamID == 0 {
		if c.window += more; c.window > maxWindow {
			return http2.ConnectionError(http2.ErrCodeFlowControl)
		}
		c.wake()
		return nil
	}
	st, err := c.known(f.StreamID)
	if st == nil {
		return err
	}
	if st.window += more; st.window > maxWindow {
		return http2.StreamError{StreamID: st.id, Code: http2.ErrCodeFlowControl}
	}
	st.room.Broadcast()
	return nil
}

// known returns a stream; nil if it has ended, and an error as well if it has not
// even begun. The caller holds mu.
func (c *conn) known(id uint32) (*stream, error) {
	if id%2 == 0 || id > c.last && !c.leaving {
		return nil, http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return c.streams[id], nil
}

// rstStream takes the end of a stream that the client has no use for.
func (c *conn) rstStream(f *http2.RSTStreamFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	st, err := c.known(f.StreamID)
	if st != nil {
		c.drop(st, errGone)
	}
	return err
}

func (c *conn) data(f *http2.DataFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Padding counts, too.
	size, content := int(f.Length), f.Data()
	if !c.credit.take(size) {
		return http2.ConnectionError(http2.ErrCodeFlowControl)
	}
	st, err := c.known(f.StreamID)
	if err != nil {
		return err
	}
	if st == nil || st.received {
		c.consumed(nil, size)
		if c.leaving && f.StreamID > c.last {
			return nil
		}
		return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeStreamClosed}
	}
	if !st.credit.take(size) {
		c.consumed(nil, size)
		return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeFlowControl}
	}
	unread := size - len(content)
	if !st.body.add(content) {
		unread = size // nobody reads it
	}
	c.consumed(st, unread)
	if st.body.exceeds() {
		return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeProtocol}
	}
	if f.StreamEnded() {
		return c.received(st)
	}
	return nil
}

// received notes that the client has sent everything of a request. The caller
// holds mu.
func (c *conn) received(st *stream) error {
	st.received = true
	if st.body.short() {
		return http2.StreamError{StreamID: st.id, Code: http2.ErrCodeProtocol}
	}
	st.body.end()
	if st.answered {
		c.drop(st, errClosed)
	}
	return nil
}

// headers takes a request, or the trailers of one.
func (c *conn) headers(f *http2.MetaHeadersFrame) error {
	id := f.StreamID
	if id%2 == 0 {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if st := c.streams[id]; st != nil {
		return c.trailers(st, f)
	}
	if id <= c.last {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	if c.leaving {
		return nil // it has been told, and asks elsewhere
	}
	c.last = id
	// A handler whose stream was reset still runs: a client cannot have more of
	// them at work than streams by resetting those.
	if max(len(c.streams), c.handlers) >= c.server.maxStreams {
		return http2.StreamError{StreamID: id, Code: http2.ErrCodeRefusedStream}
	}
	return c.begin(f)
}

// trailers takes what follows the body of a request. The caller holds mu.
func (c *conn) trailers(st *stream, f *http2.MetaHeadersFrame) error {
	switch {
	case st.received:
		return http2.StreamError{StreamID: st.id, Code: http2.ErrCodeStreamClosed}
	case !f.StreamEnded(), len(f.PseudoFields()) > 0:
		return http2.StreamError{StreamID: st.id, Code: http2.ErrCodeProtocol}
	}
	for _, field := range f.RegularFields() {
		if name := http.CanonicalHeaderKey(field.Name); st.body.announced(name) {
			st.body.trailer.Add(name, field.Value)
		}
	}
	return c.received(st)
}

// begin begins a request. The caller holds mu.
func (c *conn) begin(f *http2.MetaHeadersFrame) error {
	st := newStream(c, f.StreamID)
	r, err := st.request(f)
	if err != nil {
		st.cancel()
		return err
	}
	c.streams[st.id] = st
	c.handlers++
	if c.idle != nil {
		c.idle.Stop()
	}
	if f.StreamEnded() {
		if err := c.received(st); err != nil {
			c.handlers--
			return err
		}
	}
	handler := c.handler
	if f.Truncated {
		handler = http.HandlerFunc(tooLarge)
	}
	c.server.workers.Do(func() { st.run(handler, r) })
	return nil
}

func tooLarge(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "the request's headers are too large", http.StatusRequestHeaderFieldsTooLarge)
}

// reset ends a stream by an error of the client's. The caller holds mu.
func (c *conn) reset(id uint32, code http2.ErrCode) {
	if c.err != nil {
		return
	}
	c.appendReset(id, code)
	c.kick(nil)
	if st := c.streams[id]; st != nil {
		c.drop(st, http2.StreamError{StreamID: id, Code: code})
	}
}

// drop forgets a stream: nothing more comes or goes on it. The caller holds mu.
func (c *conn) drop(st *stream, why error) {
	if st.err != nil {
		return
	}
	st.err = why
	delete(c.streams, st.id)
	if !errors.Is(why, errClosed) { // which is the usual end, at which the handler is done
		st.cancel()
	}
	st.body.fail(why)
	st.room.Broadcast()
	if len(c.streams) == 0 && c.idle != nil && !c.leaving {
		c.idle.Reset(c.server.idleTimeout)
	}
	c.left()
}
