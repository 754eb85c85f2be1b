package direct

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/url"
	"strconv"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// mostAhead is how much memory a message gets before it has come.
const mostAhead = 1 << 20

// stream is a call, of one message each way or of many. Its fields are guarded by
// the connection's mu.
type stream struct {
	conn *conn
	ctx  context.Context //nolint:containedctx // a grpc.ClientStream has one
	id   uint32
	// whole says that nobody waits for less than all of the answer.
	whole bool
	// window is how much may be sent.
	window int64
	// unsaid is how much has been received and taken that the server was not told it
	// may send again.
	unsaid int

	// answered says that the answer has begun.
	answered bool
	// head is the prefix of a message as far as it has come, part the message as far
	// as it has come, which has size bytes. Size is -1 before that is known.
	head []byte
	part []byte
	size int
	// messages have come and have not been taken.
	messages [][]byte
	// err is how the stream has ended: io.EOF if it did well.
	err error
	// ready gets a value when there may be something to take.
	ready chan struct{}
}

var _ grpc.ClientStream = (*stream)(nil)

// call sends a request that is answered once; nil if that is not possible now.
func (c *conn) call(ctx context.Context, method string, message []byte) *stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	if size := int64(len(message)); size > c.window || size > c.first {
		return nil
	}
	st := c.begin(ctx, method)
	if st == nil {
		return nil
	}
	st.whole = true
	c.appendMessage(st, message, true)
	c.flush()
	return st
}

// stream begins a call of many messages; nil if that is not possible now.
func (c *conn) stream(ctx context.Context, method string) *stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.begin(ctx, method)
	if st == nil {
		return nil
	}
	context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.reset(st, status.FromContextError(ctx.Err()).Err())
	})
	c.flush()
	return st
}

// begin begins a stream; nil if that is not possible now. The caller holds mu.
func (c *conn) begin(ctx context.Context, method string) *stream {
	if c.err != nil || c.leaving || uint32(len(c.streams)) >= c.most {
		return nil
	}
	st := &stream{conn: c, ctx: ctx, id: c.next, window: c.first, size: -1, ready: make(chan struct{}, 1)}
	c.streams[st.id] = st
	if c.next += 2; c.next > lastStream {
		c.leaving = true
	}
	var fields []hpack.HeaderField
	if sent, ok := metadata.FromOutgoingContext(ctx); ok {
		for name, values := range sent {
			for _, v := range values {
				fields = append(fields, hpack.HeaderField{Name: name, Value: v})
			}
		}
	}
	c.appendHeaders(st.id, method, fields)
	return st
}

// answer waits for the only message of an answer.
func (st *stream) answer(ctx context.Context) ([]byte, error) {
	select {
	case <-st.ready:
	case <-ctx.Done():
		return nil, st.abandon(ctx)
	}
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !errors.Is(st.err, io.EOF):
		return nil, st.err
	case len(st.messages) != 1:
		return nil, status.Errorf(codes.Internal, "the answer has %d messages instead of one", len(st.messages))
	}
	return st.messages[0], nil
}

// abandon ends a call whose time is over. A server that has said nothing meanwhile
// may be dead; not to wait until the connection finds out serves the calls to come.
func (st *stream) abandon(ctx context.Context) error {
	err := status.FromContextError(ctx.Err()).Err()
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reset(st, err)
	if status.Code(err) == codes.DeadlineExceeded && c.silent() > silence {
		c.fail(errors.New("the server has not answered"))
	}
	return err
}

// add takes what has come of messages. The caller holds mu.
func (st *stream) add(data []byte) error {
	for len(data) > 0 {
		if st.size < 0 {
			n := min(prefix-len(st.head), len(data))
			st.head, data = append(st.head, data[:n]...), data[n:]
			if len(st.head) < prefix {
				return nil
			}
			if st.head[0] != 0 {
				return status.Error(codes.Internal, "the answer is compressed, which it was not to be")
			}
			st.size = int(binary.BigEndian.Uint32(st.head[1:]))
			st.part, st.head = make([]byte, 0, min(st.size, mostAhead)), st.head[:0]
		}
		n := min(st.size-len(st.part), len(data))
		st.part, data = append(st.part, data[:n]...), data[n:]
		if len(st.part) == st.size {
			st.messages = append(st.messages, st.part)
			st.part, st.size = nil, -1
			if !st.whole {
				st.wake()
			}
		}
	}
	return nil
}

// credit lets the server send so much more, once somebody waits for it. The caller
// holds mu.
func (st *stream) credit(n int) {
	st.unsaid += n
	if st.unsaid >= streamWindow/4 && (st.whole || len(st.messages) == 0) && st.err == nil && st.conn.err == nil {
		st.conn.appendWindowUpdate(st.id, st.unsaid)
		st.unsaid = 0
	}
}

// wake wakes who waits for something to take. The caller holds mu.
func (st *stream) wake() {
	select {
	case st.ready <- struct{}{}:
	default:
	}
}

// RecvMsg implements grpc.ClientStream.
func (st *stream) RecvMsg(m any) error {
	for {
		message, err := st.take()
		switch {
		case err != nil:
			return err
		case message != nil:
			return decode(message, m.(proto.Message))
		}
		<-st.ready // which it also gets when ctx ends
	}
}

// take returns the next message; nil if it has not come.
func (st *stream) take() ([]byte, error) {
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(st.messages) == 0 {
		return nil, st.err
	}
	message := st.messages[0]
	st.messages[0] = nil
	if st.messages = st.messages[1:]; len(st.messages) == 0 {
		st.credit(0)
		c.flush()
	}
	return message, nil
}

// SendMsg implements grpc.ClientStream.
func (st *stream) SendMsg(m any) error {
	message, err := encode(m.(proto.Message))
	if err != nil {
		return err
	}
	defer giveBuffer(message)
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	for size := int64(len(message)); st.err == nil && (size > st.window || size > c.window); {
		c.room.Wait()
	}
	if st.err != nil {
		return io.EOF // RecvMsg says why
	}
	c.appendMessage(st, message, false)
	c.flush()
	return nil
}

// CloseSend implements grpc.ClientStream.
func (st *stream) CloseSend() error {
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.err == nil {
		c.appendMessage(st, nil, true)
		c.flush()
	}
	return nil
}

// Header implements grpc.ClientStream. It is not kept.
func (st *stream) Header() (metadata.MD, error) { return nil, nil }

// Trailer implements grpc.ClientStream. It is not kept, but for the call's outcome.
func (st *stream) Trailer() metadata.MD { return nil }

// Context implements grpc.ClientStream.
func (st *stream) Context() context.Context { return st.ctx }

// outcome returns how a call went by what its trailers say; io.EOF if well.
func outcome(http, code, message string) error {
	n, err := strconv.ParseUint(code, 10, 32)
	switch {
	case err != nil:
		return status.Errorf(codes.Unavailable, "the server answered with HTTP status %q and gRPC status %q", http, code)
	case codes.Code(n) == codes.OK:
		return io.EOF
	}
	if text, err := url.PathUnescape(message); err == nil {
		message = text
	}
	return status.Error(codes.Code(n), message)
}
