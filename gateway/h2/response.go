package h2

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2/hpack"
)

// mostHeld is how much of an answer is held back until it is known whether there is
// more: the length of a short one is told, and it goes in one piece. Larger pieces
// make frames as large as most clients take.
const mostHeld = 16 << 10

// holds are what is held in, by answers that hold something: one that goes on for
// long, as a watch, mostly does not.
var holds = sync.Pool{New: func() any { return new([mostHeld]byte) }}

// response is the answer to a request. It belongs to one goroutine.
type response struct {
	stream *stream
	head   bool // the request is for the header alone
	header http.Header

	status int // 0 until it is chosen
	// snapshot is the header at that time.
	snapshot http.Header
	sent     bool  // the header has been sent
	declared int64 // how long the answer is to be; -1 if that is not said
	written  int64
	held     []byte // in hold
	hold     *[mostHeld]byte
}

// Header implements http.ResponseWriter.
func (w *response) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(status int) {
	switch {
	case w.status != 0:
		return
	case status < 100 || status > 999:
		panic("invalid WriteHeader code " + strconv.Itoa(status))
	case status < 200:
		c := w.stream.conn
		c.mu.Lock()
		defer c.mu.Unlock()
		c.inform(w.stream, status, w.header)
		return
	}
	w.status, w.snapshot, w.declared = status, w.header.Clone(), -1
	if text := w.snapshot.Get("Content-Length"); text != "" {
		n, err := strconv.ParseUint(text, 10, 63)
		if err != nil {
			w.snapshot.Del("Content-Length")
		} else {
			w.declared = int64(n)
		}
	}
}

// bodied says whether answers of a status have bodies.
func bodied(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// Write implements http.ResponseWriter.
func (w *response) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if !bodied(w.status) {
		return 0, http.ErrBodyNotAllowed
	}
	if w.written += int64(len(p)); w.declared >= 0 && w.written > w.declared {
		return 0, http.ErrContentLength
	}
	if len(w.held)+len(p) > mostHeld {
		if err := w.send(p, false); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	if w.hold == nil {
		w.hold = holds.Get().(*[mostHeld]byte)
		w.held = w.hold[:0]
	}
	w.held = append(w.held, p...)
	return len(p), nil
}

// release gives up what was held.
func (w *response) release() {
	if w.hold != nil {
		holds.Put(w.hold)
		w.hold, w.held = nil, nil
	}
}

// Flush implements http.Flusher.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError is for http.ResponseController.
func (w *response) FlushError() error {
	w.WriteHeader(http.StatusOK)
	if w.sent && len(w.held) == 0 {
		return nil
	}
	return w.send(nil, false)
}

// SetReadDeadline is for http.ResponseController.
func (w *response) SetReadDeadline(t time.Time) error {
	w.stream.body.setDeadline(t)
	return nil
}

// EnableFullDuplex is for http.ResponseController: HTTP/2 is so always.
func (w *response) EnableFullDuplex() error { return nil }

// end sends what is left of the answer. It returns the error that keeps it from
// being whole.
func (w *response) end() any {
	w.WriteHeader(http.StatusOK)
	err := w.send(nil, true)
	if err == nil && !w.head && w.declared > w.written {
		err = http.ErrContentLength
	}
	if err != nil {
		return err
	}
	return nil
}

// send sends what is held and p, and the header if that has not been.
func (w *response) send(p []byte, end bool) error {
	defer w.release()
	held := w.held
	if w.head {
		held, p = nil, nil
	}
	c, st := w.stream.conn, w.stream
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.writable(st); err != nil {
		return err
	}
	var trailer http.Header
	if end {
		trailer = w.trailer()
	}
	short := end && w.declared > w.written && !w.head
	last := end && len(trailer) == 0 && !short
	if !w.sent {
		w.sent = true
		w.complete(held, p, end)
		c.encode(w.status, w.snapshot)
		c.appendHeaders(st.id, last && len(held)+len(p) == 0)
	} else if last && len(held)+len(p) == 0 {
		c.appendData(st.id, 0, true, nil, nil)
	}
	err := c.sendData(st, last, held, p)
	if err == nil && len(trailer) > 0 && !short {
		c.encode(0, trailer)
		c.appendHeaders(st.id, true)
	}
	if end && err == nil && !short {
		st.answered = true
	}
	c.kick(st)
	return err
}

// complete adds the headers that an answer has by itself.
func (w *response) complete(held, p []byte, all bool) {
	h := w.snapshot
	if h == nil {
		h = make(http.Header)
		w.snapshot = h
	}
	if _, ok := h["Date"]; !ok {
		h["Date"] = []string{time.Now().UTC().Format(http.TimeFormat)}
	}
	if !bodied(w.status) {
		return
	}
	_, typed := h["Content-Type"]
	if first := held; !typed && len(h["Content-Encoding"]) == 0 && len(held)+len(p) > 0 {
		if len(first) == 0 {
			first = p
		}
		h["Content-Type"] = []string{http.DetectContentType(first)}
	}
	if all && w.declared < 0 && (!w.head || w.written > 0) && len(h["Trailer"]) == 0 {
		h["Content-Length"] = []string{strconv.FormatInt(w.written, 10)}
	}
}

// trailer returns what follows the body: headers that were announced, or whose name
// says so.
func (w *response) trailer() http.Header {
	var out http.Header
	add := func(name string, values []string) {
		if len(values) > 0 && httpguts.ValidTrailerHeader(name) {
			if out == nil {
				out = make(http.Header)
			}
			out[name] = values
		}
	}
	for _, announced := range w.snapshot["Trailer"] {
		for name := range strings.SplitSeq(announced, ",") {
			name = http.CanonicalHeaderKey(strings.TrimSpace(name))
			add(name, w.header[name])
		}
	}
	for name, values := range w.header {
		if name, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			add(http.CanonicalHeaderKey(name), values)
		}
	}
	return out
}

// writable returns why nothing can be sent on a stream. The caller holds mu.
func (c *conn) writable(st *stream) error {
	switch {
	case c.err != nil:
		return c.err
	case st.err != nil:
		return st.err
	case st.answered:
		return errors.New("the answer has ended")
	}
	return nil
}

// sendData puts two parts of a body into out, and waits for room there. The caller
// holds mu.
func (c *conn) sendData(st *stream, last bool, a, b []byte) error {
	for len(a)+len(b) > 0 {
		n := int(min(int64(len(a)+len(b)), int64(c.frame), st.window, c.window))
		if n <= 0 || len(c.out) >= mostOut {
			c.block(st)
			if err := c.writable(st); err != nil {
				return err
			}
			continue
		}
		st.window -= int64(n)
		c.window -= int64(n)
		a, b = c.appendData(st.id, n, last && n == len(a)+len(b), a, b)
	}
	return nil
}

// inform sends an answer before the answer. The caller holds mu.
func (c *conn) inform(st *stream, status int, header http.Header) {
	if c.writable(st) != nil {
		return
	}
	c.encode(status, header)
	c.appendHeaders(st.id, false)
	c.kick(nil)
}

// encode encodes a header with a status, or a trailer, whose is 0. The caller holds
// mu.
func (c *conn) encode(status int, header http.Header) {
	if status != 0 {
		c.field(":status", strconv.Itoa(status))
	}
	for name, values := range header {
		if strings.HasPrefix(name, http.TrailerPrefix) || !httpguts.ValidHeaderFieldName(name) {
			continue
		}
		name = lower(name)
		if unsent(name, status) {
			continue
		}
		for _, value := range values {
			if httpguts.ValidHeaderFieldValue(value) {
				c.field(name, value)
			}
		}
	}
}

func (c *conn) field(name, value string) {
	_ = c.fields.WriteField(hpack.HeaderField{Name: name, Value: value}) // into a buffer
}

// unsent says whether HTTP/2 has no such header, or has it not at this status.
func unsent(name string, status int) bool {
	switch name {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		return true
	case "content-length":
		return status != 0 && !bodied(status) && status != http.StatusNotModified
	}
	return false
}

// lower returns a header's name as HTTP/2 has it.
func lower(name string) string {
	switch name {
	case "Content-Type":
		return "content-type"
	case "Content-Length":
		return "content-length"
	case "Date":
		return "date"
	case "Cache-Control":
		return "cache-control"
	case "Content-Encoding":
		return "content-encoding"
	case "Vary":
		return "vary"
	}
	return strings.ToLower(name)
}
