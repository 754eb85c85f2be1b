package direct

import (
	"encoding/binary"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"navarch.dev/navarch/internal/http2frame"
)

const (
	// prefix is the length of what precedes a message: whether it is compressed, and
	// its length.
	prefix = 5
	// pingSize is that of a ping's content.
	pingSize = 8
	// keptBuffer is the largest buffer that is kept for reuse: a transaction in which a
	// hundred pods are bound fits into it.
	keptBuffer = 512 << 10
)

var buffers = sync.Pool{New: func() any { return new([]byte) }}

func giveBuffer(b []byte) {
	if cap(b) <= keptBuffer {
		buffers.Put(&b)
	}
}

// encode returns a message as it is sent, in a buffer for giveBuffer.
func encode(m proto.Message) ([]byte, error) {
	b := (*buffers.Get().(*[]byte))[:0]
	b, err := proto.MarshalOptions{}.MarshalAppend(append(b, make([]byte, prefix)...), m)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "encode the request: %v", err)
	}
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)-prefix))
	return b, nil
}

func decode(b []byte, m proto.Message) error {
	if err := proto.Unmarshal(b, m); err != nil {
		return status.Errorf(codes.Internal, "decode the answer: %v", err)
	}
	return nil
}

// flush sends what is in out, unless somebody does. The caller holds mu, which is
// free meanwhile.
func (c *conn) flush() {
	if c.sending {
		return
	}
	c.sending = true
	for len(c.out) > 0 && c.err == nil {
		frames := c.out
		c.out, c.spare = c.spare[:0], nil
		c.mu.Unlock()
		_, err := c.rw.Write(frames)
		c.mu.Lock()
		if cap(frames) <= keptBuffer {
			c.spare = frames
		}
		if err != nil {
			c.fail(err)
		}
	}
	c.sending = false
}

// The append methods put frames into out. Their callers hold mu.

func (c *conn) appendFrame(kind http2.FrameType, flags http2.Flags, stream uint32, length int) {
	c.out = http2frame.Append(c.out, kind, flags, stream, length)
}

func (c *conn) appendSettings(settings ...http2.Setting) {
	c.out = http2frame.AppendSettings(c.out, settings...)
}

func (c *conn) appendWindowUpdate(stream uint32, more int) {
	c.out = http2frame.AppendWindowUpdate(c.out, stream, more)
}

func (c *conn) appendReset(stream uint32) {
	c.out = http2frame.AppendReset(c.out, stream, http2.ErrCodeCancel)
}

// appendHeaders appends the beginning of a call, which is far smaller than a frame
// may be.
func (c *conn) appendHeaders(stream uint32, method string, metadata []hpack.HeaderField) {
	c.encoded.Reset()
	path := [1]hpack.HeaderField{{Name: ":path", Value: method}}
	for _, part := range [...][]hpack.HeaderField{c.before, path[:], c.after, metadata} {
		for _, f := range part {
			_ = c.fields.WriteField(f) // a buffer takes everything
		}
	}
	c.appendFrame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, stream, c.encoded.Len())
	c.out = append(c.out, c.encoded.Bytes()...)
}

// appendMessage appends a message, for which there is room in the windows.
func (c *conn) appendMessage(st *stream, message []byte, last bool) {
	st.window -= int64(len(message))
	c.window -= int64(len(message))
	for done := false; !done; {
		part := message[:min(len(message), minFrame)]
		message = message[len(part):]
		done = len(message) == 0
		flags := http2.Flags(0)
		if done && last {
			flags = http2.FlagDataEndStream
		}
		c.appendFrame(http2.FrameData, flags, st.id, len(part))
		c.out = append(c.out, part...)
	}
}
