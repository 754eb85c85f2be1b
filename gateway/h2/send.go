package h2

import (
	"encoding/binary"
	"runtime"
	"time"

	"golang.org/x/net/http2"

	"navarch.dev/navarch/internal/http2frame"
)

const (
	// pause is how long a connection has been quiet when a handler sends by itself.
	pause = 100 * time.Microsecond
	// muchOut is from how many bytes on a handler sends by itself on a busy
	// connection, too.
	muchOut = 64 << 10
	// mostOut is how many bytes wait to be sent before handlers have to wait.
	mostOut = 128 << 10
	// mostControl is how many answers to what a client may send without end wait
	// for it to take them, before it is cut off.
	mostControl = 10_000
)

// kick makes what is in out be sent if nobody does: by its caller, if that is the
// handler of a stream and may, with mu free meanwhile. The caller holds mu.
func (c *conn) kick(handler *stream) {
	if c.sending || len(c.out) == 0 || c.err != nil {
		return
	}
	c.sending = true
	// To hand over the end of an answer takes longer than to send it.
	last := handler != nil && handler.answered && c.sender == handler.id
	if handler != nil && (last || len(c.out) >= muchOut || time.Since(c.wrote) >= pause) {
		c.sender = handler.id
		c.sendOut()
	}
	if c.sending {
		go c.send()
	}
}

// send sends until there is nothing to send.
func (c *conn) send() {
	for more := true; more; {
		runtime.Gosched() // to the end of the queue: others may have more to send
		c.mu.Lock()
		c.sender = 0
		c.sendOut()
		more = c.sending
		c.mu.Unlock()
	}
}

// sendOut sends what is in out, and notes in sending whether there is more by then.
// The caller holds mu, which is free meanwhile, and has set sending.
func (c *conn) sendOut() {
	frames := c.out
	c.out, c.control = nil, 0
	c.wake()
	c.mu.Unlock()
	err := c.write(frames)
	giveBuffer(frames)
	c.mu.Lock()
	c.wrote = time.Now()
	if err != nil {
		c.fail(err)
	}
	c.sending = len(c.out) > 0 && c.err == nil
	if c.sending {
		return
	}
	c.sent.Broadcast()
	if c.finish {
		c.fail(errClosed)
	}
}

func (c *conn) write(frames []byte) error {
	if c.cork == nil {
		_, err := c.rw.Write(frames)
		return err
	}
	c.cork.hold()
	_, err := c.rw.Write(frames)
	if rerr := c.cork.release(); err == nil {
		err = rerr
	}
	return err
}

// block waits for room in out or in the windows, or for the stream's end. Who
// waits sends first. The caller holds mu.
func (c *conn) block(st *stream) {
	full := len(c.out) >= mostOut
	if full && !c.sending {
		c.kick(st)
		return // there may be room by now
	}
	c.kick(st)
	if st.err == nil && c.err == nil && (st.window <= 0 || c.window <= 0 || len(c.out) >= mostOut) {
		c.blocked = append(c.blocked, st)
		st.room.Wait()
	}
}

// wake wakes all handlers that wait. The caller holds mu.
func (c *conn) wake() {
	for _, st := range c.blocked {
		st.room.Broadcast()
	}
	clear(c.blocked)
	c.blocked = c.blocked[:0]
}

// flooded returns an error if the client makes more answers than it takes. The
// caller holds mu.
func (c *conn) flooded() error {
	if c.control++; c.control > mostControl {
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
	return nil
}

// The append methods put frames into out. Their callers hold mu.

func (c *conn) appendFrame(kind http2.FrameType, flags http2.Flags, stream uint32, length int) {
	c.out = http2frame.Append(c.buffer(), kind, flags, stream, length)
}

func (c *conn) appendSettings(settings ...http2.Setting) {
	c.out = http2frame.AppendSettings(c.buffer(), settings...)
}

func (c *conn) appendWindowUpdate(stream uint32, more int) {
	c.out = http2frame.AppendWindowUpdate(c.buffer(), stream, more)
}

func (c *conn) appendReset(stream uint32, code http2.ErrCode) {
	c.out = http2frame.AppendReset(c.buffer(), stream, code)
}

// buffer returns what is to be sent, with room for more.
func (c *conn) buffer() []byte {
	if c.out == nil {
		c.out = takeBuffer()
	}
	return c.out
}

func (c *conn) appendGoAway(code http2.ErrCode) {
	c.appendFrame(http2.FrameGoAway, 0, 0, 8)
	c.out = binary.BigEndian.AppendUint32(c.out, c.last)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(code))
}

// appendHeaders appends what c.fields has encoded.
func (c *conn) appendHeaders(stream uint32, end bool) {
	block := c.encoded.Bytes()
	kind, flags := http2.FrameHeaders, http2.Flags(0)
	if end {
		flags = http2.FlagHeadersEndStream
	}
	for {
		part := block[:min(len(block), c.frame)]
		if block = block[len(part):]; len(block) == 0 {
			flags |= http2.FlagHeadersEndHeaders // the same as a continuation's
		}
		c.appendFrame(kind, flags, stream, len(part))
		c.out = append(c.out, part...)
		if len(block) == 0 {
			break
		}
		kind, flags = http2.FrameContinuation, 0
	}
	c.encoded.Reset()
}

// appendData appends a frame of the first n bytes of two parts, and returns what is
// left of them.
func (c *conn) appendData(stream uint32, n int, end bool, a, b []byte) (restA, restB []byte) {
	flags := http2.Flags(0)
	if end {
		flags = http2.FlagDataEndStream
	}
	c.appendFrame(http2.FrameData, flags, stream, n)
	ofA := min(n, len(a))
	c.out = append(c.out, a[:ofA]...)
	c.out = append(c.out, b[:n-ofA]...)
	return a[ofA:], b[n-ofA:]
}
