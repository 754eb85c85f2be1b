package h2

import (
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// body is the body of a request. What is not said to be guarded is its handler's;
// the rest is guarded by conn.mu.
type body struct {
	st   *stream
	came sync.Cond // told of every change

	content []byte // that has come
	read    int    // how much of content has been read
	// err is what follows content: nil if more may come, io.EOF at the end.
	err error
	// closed says that nobody reads the rest.
	closed bool
	// continues says that the client waits until its body is wanted.
	continues bool

	declared int64 // the length, -1 if that is not known
	got      int64
	trailer  http.Header

	timer *time.Timer // of the deadline
	late  bool
}

// announced says whether the client has said that there will be a trailer.
func (b *body) announced(name string) bool {
	_, ok := b.trailer[name]
	return ok
}

// add takes what has come. It returns false if nobody will read it.
func (b *body) add(p []byte) bool {
	b.got += int64(len(p))
	if b.closed || b.exceeds() {
		return false
	}
	if b.read == len(b.content) {
		b.content, b.read = b.content[:0], 0
	}
	if b.content == nil && b.declared > 0 {
		b.content = make([]byte, 0, min(b.declared, receiveWindow))
	}
	b.content = append(b.content, p...)
	b.came.Broadcast()
	return true
}

// exceeds and short say whether more or less has come than was declared.
func (b *body) exceeds() bool { return b.declared >= 0 && b.got > b.declared }
func (b *body) short() bool   { return b.declared >= 0 && b.got < b.declared }

// end says that everything has come.
func (b *body) end() {
	if b.err == nil {
		b.err = io.EOF
	}
	b.came.Broadcast()
}

// fail says that nothing more comes. What has come can still be read.
func (b *body) fail(err error) {
	if b.err == nil {
		b.err = err
	}
	b.came.Broadcast()
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	c := b.st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if b.continues && len(b.content) == 0 && b.err == nil && b.st.err == nil {
		c.inform(b.st, http.StatusContinue, nil)
	}
	b.continues = false
	for b.read == len(b.content) && b.err == nil && !b.late && !b.closed {
		b.came.Wait()
	}
	switch {
	case b.closed:
		return 0, http.ErrBodyReadAfterClose
	case b.read < len(b.content):
		n := copy(p, b.content[b.read:])
		b.read += n
		c.consumed(b.st, n)
		return n, nil
	case b.err != nil:
		return 0, b.err
	}
	return 0, os.ErrDeadlineExceeded
}

// Close implements io.Closer.
func (b *body) Close() error {
	c := b.st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	if b.timer != nil {
		b.timer.Stop()
	}
	unread := len(b.content) - b.read
	b.content, b.read = nil, 0
	b.came.Broadcast()
	c.consumed(nil, unread)
	return nil
}

// setDeadline makes reads fail from t on, unless it is zero.
func (b *body) setDeadline(t time.Time) {
	c := b.st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if b.timer != nil {
		b.timer.Stop()
		b.timer = nil
	}
	b.late = false
	// What has come as a whole needs no deadline.
	if t.IsZero() || b.err != nil || b.closed {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(time.Until(t), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if b.timer == timer {
			b.late = true
			b.came.Broadcast()
		}
	})
	b.timer = timer
}
