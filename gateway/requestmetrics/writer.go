package requestmetrics

import (
	"bufio"
	"cmp"
	"net"
	"net/http"
)

// responseWriter notes the status of an answer.
type responseWriter struct {
	http.ResponseWriter
	code int
}

// status returns what was answered: where nothing was written, the server says
// that all is well.
func (w *responseWriter) status() int { return cmp.Or(w.code, http.StatusOK) }

// Unwrap lets http.ResponseController reach the server's writer.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *responseWriter) WriteHeader(code int) {
	if w.code == 0 && (code >= http.StatusOK || code == http.StatusSwitchingProtocols) { // others come before the answer
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

// Flush implements http.Flusher, which libraries look for.
func (w *responseWriter) Flush() {
	_ = http.NewResponseController(w.ResponseWriter).Flush() // as http.Flusher does, which cannot fail
}

// Hijack implements http.Hijacker, which libraries look for. It fails where the
// connection cannot be taken over.
func (w *responseWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil && w.code == 0 {
		w.code = http.StatusSwitchingProtocols
	}
	return conn, buffered, err
}
