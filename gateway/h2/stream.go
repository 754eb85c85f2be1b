package h2

import (
	"context"
	"net/http"
	"net/textproto"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
)

// stream is a request and its answer.
type stream struct {
	id     uint32
	conn   *conn
	ctx    context.Context //nolint:containedctx // the request's
	cancel context.CancelFunc

	// The fields below are guarded by conn.mu.

	// err is why nothing more can be sent; the stream has been forgotten then.
	err error
	// received says that the client has sent everything, and answered that
	// everything has been put into conn.out.
	received, answered bool
	room               sync.Cond // told of a wider window, room in conn.out, or err
	window             int64     // what may be sent
	credit             credit
	body               body
}

func newStream(c *conn, id uint32) *stream {
	st := &stream{id: id, conn: c, window: c.first, credit: credit{window: receiveWindow}}
	st.ctx, st.cancel = context.WithCancel(c.base)
	st.room.L = &c.mu
	st.body.st, st.body.came.L, st.body.declared = st, &c.mu, -1
	return st
}

// request makes the request that a frame begins.
func (st *stream) request(f *http2.MetaHeadersFrame) (*http.Request, error) {
	malformed := http2.StreamError{StreamID: st.id, Code: http2.ErrCodeProtocol}
	method, scheme, path := f.PseudoValue("method"), f.PseudoValue("scheme"), f.PseudoValue("path")
	host := f.PseudoValue("authority")
	if method == "" || path == "" || method == http.MethodConnect || scheme != "https" && scheme != "http" || strings.Contains(host, "@") {
		return nil, malformed
	}
	target, err := url.ParseRequestURI(path)
	if err != nil {
		return nil, malformed
	}
	header := fields(f)
	if forbidden(header) {
		return nil, malformed
	}
	if host == "" {
		host = header.Get("Host")
	}
	delete(header, "Host")
	if cookies := header["Cookie"]; len(cookies) > 1 {
		header["Cookie"] = []string{strings.Join(cookies, "; ")}
	}
	b := &st.body
	b.trailer = announcedTrailers(header)
	if b.declared, err = length(header, f.StreamEnded()); err != nil {
		return nil, malformed
	}
	if httpguts.HeaderValuesContainsToken(header["Expect"], "100-continue") {
		delete(header, "Expect")
		b.continues = true
	}
	r := &http.Request{
		Method: method, URL: target, RequestURI: path, Host: host, Header: header, Trailer: b.trailer,
		Proto: "HTTP/2.0", ProtoMajor: 2, Body: b, ContentLength: b.declared,
		RemoteAddr: st.conn.remote, TLS: st.conn.tls,
	}
	if f.StreamEnded() {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	return r.WithContext(st.ctx), nil
}

// fields returns the headers of a request.
func fields(f *http2.MetaHeadersFrame) http.Header {
	regular := f.RegularFields()
	header := make(http.Header, len(regular))
	values := make([]string, len(regular))
	for i, field := range regular {
		name := http.CanonicalHeaderKey(field.Name)
		if had, ok := header[name]; ok {
			header[name] = append(had, field.Value)
			continue
		}
		values[i] = field.Value
		header[name] = values[i : i+1 : i+1]
	}
	return header
}

// ofConnections are headers that concern a connection of HTTP/1.
var ofConnections = []string{"Connection", "Proxy-Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade"}

// forbidden says whether there is a header that HTTP/2 has not.
func forbidden(header http.Header) bool {
	if te := header["Te"]; len(te) > 0 && !slices.Equal(te, []string{"trailers"}) {
		return true
	}
	return slices.ContainsFunc(ofConnections, func(name string) bool { return len(header[name]) > 0 })
}

// announcedTrailers returns the trailers that a request is to have, without
// values.
func announcedTrailers(header http.Header) http.Header {
	announced := header["Trailer"]
	if len(announced) == 0 {
		return nil
	}
	delete(header, "Trailer")
	trailer := make(http.Header)
	for _, value := range announced {
		for name := range strings.SplitSeq(value, ",") {
			name = http.CanonicalHeaderKey(textproto.TrimString(name))
			if !httpguts.ValidTrailerHeader(name) {
				continue // as in HTTP/1
			}
			trailer[name] = nil
		}
	}
	return trailer
}

// length returns how long a body is to be; -1 if that is not said.
func length(header http.Header, none bool) (int64, error) {
	values := header["Content-Length"]
	switch {
	case len(values) > 0 && slices.ContainsFunc(values, func(v string) bool { return v != values[0] }):
		return 0, strconv.ErrSyntax
	case len(values) > 0:
		n, err := strconv.ParseUint(values[0], 10, 63)
		return int64(n), err
	case none:
		return 0, nil
	}
	return -1, nil
}

// run serves the request.
func (st *stream) run(handler http.Handler, r *http.Request) {
	w := &response{stream: st, head: r.Method == http.MethodHead, header: make(http.Header)}
	defer st.cancel()
	defer func() {
		p := recover()
		if p != nil && p != http.ErrAbortHandler { //nolint:errorlint // who cuts a connection panics with this very value
			st.conn.server.log.Printf("panic serving %s: %v\n%s", st.conn.remote, p, debug.Stack())
		}
		if p == nil {
			p = w.end()
		}
		st.conn.done(st, p != nil)
	}()
	handler.ServeHTTP(w, r)
}

// done notes that a handler has ended, with a whole answer or not.
func (c *conn) done(st *stream, failed bool) {
	_ = st.body.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handlers--
	switch {
	case st.err != nil:
	case failed:
		c.reset(st.id, http2.ErrCodeInternal)
	case st.received:
		c.drop(st, errClosed)
	default:
		// The rest of the request is of no use.
		c.reset(st.id, http2.ErrCodeNo)
	}
}
