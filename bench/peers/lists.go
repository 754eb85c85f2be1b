package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	listedNamespace = "listed"
	heldNamespace   = "held"
	pageSize        = 500
	listsPerRound   = 3
	listTarget      = 8 // times faster than the reference
)

// createPods creates pods in a namespace, as fast as the clients can.
func (s *server) createPods(ctx context.Context, ns string, count int) error {
	return s.inParallel(ctx, count, func(ctx context.Context, c *http.Client, n int) error {
		body, err := encode(pod(n))
		if err != nil {
			return err
		}
		_, err = s.do(ctx, c, request{method: http.MethodPost, path: "/api/v1/namespaces/" + ns + "/pods", contentType: jsonType, body: body})
		return err
	})
}

// list is one way to read the pods.
type list struct {
	name string
	request
	paged bool
}

func lists() []list {
	const path = "/api/v1/namespaces/" + listedNamespace + "/pods"
	var out []list
	for _, encoding := range []struct{ name, accept string }{{"JSON", jsonType}, {"Protobuf", protobufType}} {
		for _, gzip := range []bool{false, true} {
			name := encoding.name
			if gzip {
				name += " gzip"
			}
			r := request{method: http.MethodGet, path: path, accept: encoding.accept, gzip: gzip}
			out = append(out, list{name: name + ", whole", request: r}, list{name: name + ", paged", request: r, paged: true})
		}
	}
	picked := request{method: http.MethodGet, path: path + "?labelSelector=" + url.QueryEscape("shard=picked"), accept: jsonType}
	return append(out, list{name: "by a label that 1 % have", request: picked})
}

// measureLists compares the time of a LIST from request to last byte.
func measureLists(ctx context.Context, p *peers) ([]line, error) {
	for _, s := range p.both(0) {
		if err := s.createPods(ctx, listedNamespace, p.scale.listed); err != nil {
			return nil, fmt.Errorf("create pods at %s: %w", s.name, err)
		}
	}
	var lines []line
	for _, l := range lists() {
		var took pair
		err := p.turns(ctx, func(ctx context.Context, t turn) error { return t.measureList(ctx, l, &took) })
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.name, err)
		}
		lines = append(lines, took.faster(fmt.Sprintf("LIST %d pods, %s", p.scale.listed, l.name), listTarget))
	}
	return lines, nil
}

// measureList reads a list a few times.
func (t turn) measureList(ctx context.Context, l list, took *pair) error {
	var each samples
	_, used, err := t.spend(func() error {
		for range listsPerRound {
			d, err := t.timeList(ctx, l)
			if err != nil {
				return err
			}
			each = append(each, d)
		}
		return nil
	})
	took.add(t, each.percentile(50).Seconds())
	took.addSpent(t, used, listsPerRound)
	return err
}

func (s *server) timeList(ctx context.Context, l list) (time.Duration, error) {
	if l.paged {
		return s.timePages(ctx, l)
	}
	c := s.client()
	defer c.CloseIdleConnections()
	if _, err := s.do(ctx, c, request{method: http.MethodGet, path: "/version"}); err != nil {
		return 0, err
	}
	started := time.Now()
	_, err := s.do(ctx, c, l.request)
	return time.Since(started), err
}

// timePages reads page by page over one connection.
func (s *server) timePages(ctx context.Context, l list) (time.Duration, error) {
	c := s.client()
	defer c.CloseIdleConnections()
	if _, err := s.do(ctx, c, request{method: http.MethodGet, path: "/version"}); err != nil {
		return 0, err
	}
	started := time.Now()
	for next := ""; ; {
		page := l.request
		page.path += "?limit=" + strconv.Itoa(pageSize) + "&continue=" + url.QueryEscape(next)
		head, err := s.head(ctx, c, page)
		if err != nil {
			return 0, err
		}
		if next, err = continueOf(head, l.accept); err != nil {
			return 0, err
		}
		if next == "" {
			return time.Since(started), nil
		}
	}
}

// headSize holds a list's metadata, which are before its items.
const headSize = 2 << 10

// head reads a whole answer and returns its beginning, unpacked.
func (s *server) head(ctx context.Context, c *http.Client, r request) ([]byte, error) {
	head, _, err := s.skim(ctx, c, r, headSize)
	if err != nil || !r.gzip || !bytes.HasPrefix(head, []byte("\x1f\x8b")) {
		return head, err
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(head))
	if err != nil {
		return nil, fmt.Errorf("unpack the answer to %s: %w", r.path, err)
	}
	begin := make([]byte, headSize)
	n, err := io.ReadFull(unpacked, begin)
	if errors.Is(err, io.ErrUnexpectedEOF) { // there is no more of it
		err = nil
	}
	return begin[:n], err
}

// continueOf returns the token in a page of a list, without decoding what the
// page holds: that would be the client's time, not the server's.
func continueOf(page []byte, contentType string) (string, error) {
	if contentType == jsonType {
		_, after, found := bytes.Cut(page, []byte(`"continue":"`))
		if !found {
			return "", nil
		}
		token, _, _ := bytes.Cut(after, []byte(`"`))
		return string(token), nil
	}
	// The envelope has four bytes of its own, then a message runtime.Unknown
	// whose second field is the list; that begins with its metadata, of which
	// the third field is the token.
	const magic = 4
	if len(page) < magic {
		return "", errors.New("a page is shorter than its envelope")
	}
	token := page[magic:]
	for _, number := range []protowire.Number{2, 1, 3} {
		var err error
		if token, err = field(token, number); err != nil {
			return "", fmt.Errorf("read a page: %w", err)
		}
	}
	return string(token), nil
}

// field returns the first field of a number in a message, which may be cut short
// within it; nil if there is none.
func field(message []byte, number protowire.Number) ([]byte, error) {
	for len(message) > 0 {
		got, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		message = message[n:]
		if got == number && kind == protowire.BytesType {
			size, n := protowire.ConsumeVarint(message)
			if n < 0 {
				return nil, protowire.ParseError(n)
			}
			message = message[n:]
			return message[:min(size, uint64(len(message)))], nil
		}
		if n = protowire.ConsumeFieldValue(got, kind, message); n < 0 {
			return nil, protowire.ParseError(n)
		}
		message = message[n:]
	}
	return nil, nil
}
