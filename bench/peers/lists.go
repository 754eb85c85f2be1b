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

	"golang.org/x/sync/errgroup"
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
	g, ctx := errgroup.WithContext(ctx)
	for i := range clients {
		c := s.client()
		defer c.CloseIdleConnections()
		g.Go(func() error {
			for n := i; n < count; n += clients {
				body, err := encode(pod(n))
				if err != nil {
					return err
				}
				r := request{method: http.MethodPost, path: "/api/v1/namespaces/" + ns + "/pods", contentType: jsonType, body: body}
				if _, err := s.do(ctx, c, r); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
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
		var times pair
		for round := range p.rounds * listsPerRound {
			for _, s := range p.both(round) {
				took, err := s.timeList(ctx, l)
				if err != nil {
					return nil, fmt.Errorf("%s at %s: %w", l.name, s.name, err)
				}
				times.add(p, s, took.Seconds())
			}
		}
		lines = append(lines, times.faster(fmt.Sprintf("LIST %d pods, %s", p.scale.listed, l.name), listTarget))
	}
	return lines, nil
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
