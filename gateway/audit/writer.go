package audit

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
)

// maxStatus is the most of a body that is kept if it is only of interest as a
// Status.
const maxStatus = 64 << 10

// capture keeps the beginning of what passes through.
type capture struct {
	bytes.Buffer
	limit int
	more  bool
}

func (c *capture) take(b []byte) {
	room := c.limit - c.Len()
	if len(b) > room {
		b, c.more = b[:room], true
	}
	c.Write(b)
}

// responseWriter notes how a request is answered.
type responseWriter struct {
	http.ResponseWriter
	record *record
	// begun says that the head was sent.
	begun bool
	// body is kept if it is not nil.
	body *capture
}

// Unwrap lets http.ResponseController reach the server's writer.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *responseWriter) begin(code int) {
	if w.begun {
		return
	}
	w.begun = true
	w.record.begin(code)
	if limit := w.record.keepsAnswer(code); limit > 0 {
		w.body = &capture{limit: limit}
	}
}

// WriteHeader implements http.ResponseWriter.
func (w *responseWriter) WriteHeader(code int) {
	if code >= http.StatusOK || code == http.StatusSwitchingProtocols { // others come before the answer
		w.begin(code)
	}
	w.ResponseWriter.WriteHeader(code)
}

// Write implements http.ResponseWriter.
func (w *responseWriter) Write(b []byte) (int, error) {
	w.begin(http.StatusOK)
	if w.body != nil {
		w.body.take(b)
	}
	return w.ResponseWriter.Write(b)
}

// Flush implements http.Flusher, which libraries look for.
func (w *responseWriter) Flush() {
	w.begin(http.StatusOK)
	_ = http.NewResponseController(w.ResponseWriter).Flush() // as http.Flusher does, which cannot fail
}

// Hijack implements http.Hijacker, which libraries look for. It fails where the
// connection cannot be taken over.
func (w *responseWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.begin(http.StatusSwitchingProtocols)
	}
	return conn, buffered, err
}
