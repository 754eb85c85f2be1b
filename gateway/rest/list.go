package rest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/gateway/attributes"
	"navarch.dev/navarch/gateway/envelope"
	"navarch.dev/navarch/gateway/negotiate"
	"navarch.dev/navarch/gateway/reply"
	"navarch.dev/navarch/gateway/routes"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// listBuffer gathers small items into large writes. HTTP/2 hands each write over
// to another goroutine and waits for it.
const listBuffer = 256 << 10

var listBuffers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, listBuffer) }}

// list serves a collection. It is streamed: the Store's bytes with the list's
// own around them.
func (h *Handler) list(w http.ResponseWriter, r *http.Request, t routes.Target, f negotiate.Format) error {
	q := r.URL.Query()
	o, err := parseListOptions(q, t.Kind)
	if err != nil {
		return err
	}
	p, err := projection(f, q)
	if err != nil {
		return err
	}
	whole := f.Media == negotiate.YAML || f.Media == negotiate.JSON && attributes.Flag(q, "pretty") // what is rewritten as a whole
	req := &storev1.ListRequest{
		Resource: resource(t), Namespace: t.Namespace, LabelSelector: o.labels, FieldSelector: o.fields,
		ResourceVersion: o.resourceVersion, ResourceVersionMatch: o.match, PageSize: o.limit, PageToken: o.token,
		Encoding: encoding(f), Projection: p, Packing: packing(r, f, whole),
	}
	l := &lister{target: t, format: f}
	if whole {
		var body bytes.Buffer
		l.open = func(bool) listWriter { return plainList{&body} }
		if err := h.Streams.List(r.Context(), req, l.add); err != nil {
			return err
		}
		if err := l.end(); err != nil {
			return err
		}
		return h.json(w, r, http.StatusOK, f, body.Bytes())
	}
	body := newListBody(w, r, f)
	defer body.release()
	l.open = body.open
	err = h.Streams.List(r.Context(), req, l.add)
	return body.end(l, err)
}

// packing returns how the Store shall send the objects.
func packing(r *http.Request, f negotiate.Format, whole bool) storev1.Packing {
	switch {
	case whole:
		return storev1.Packing_PACKING_UNSPECIFIED
	case reply.AcceptsGzip(r):
		return storev1.Packing_PACKING_DEFLATED
	case f.Media == negotiate.Protobuf:
		return storev1.Packing_PACKING_JOINED
	}
	return storev1.Packing_PACKING_UNSPECIFIED
}

// listKind returns what the list says it is.
func listKind(t routes.Target, f negotiate.Format, header *storev1.ListHeader) schema.GroupVersionKind {
	switch {
	case f.IsTable():
		return schema.GroupVersionKind{Group: f.Group, Version: f.Version, Kind: "Table"}
	case f.IsMetadata():
		return schema.GroupVersionKind{Group: f.Group, Version: f.Version, Kind: "PartialObjectMetadataList"}
	case header.GetKind() != "":
		return schema.FromAPIVersionAndKind(header.GetApiVersion(), header.GetKind())
	}
	return t.Kind.GVK().GroupVersion().WithKind(t.Kind.Kind + "List")
}

// listWriter is what a list is written to.
type listWriter interface {
	io.Writer
	// Deflated takes a part that is compressed; see reply.Splice.
	Deflated(blocks []byte, size int64, crc uint32) error
}

// plainList is a list that takes no compressed parts.
type plainList struct{ io.Writer }

// Deflated implements listWriter.
func (plainList) Deflated([]byte, int64, uint32) error {
	return errors.New("the Store compressed what it was not asked to")
}

// longPart is from how many bytes on a part of a list is written by itself: to copy
// it behind others would take longer.
const longPart = 16 << 10

// gathered writes short parts together and long ones by themselves.
type gathered struct {
	short *bufio.Writer
	long  io.Writer // what short writes to
}

// Write implements io.Writer.
func (g gathered) Write(p []byte) (int, error) {
	if len(p) < longPart {
		return g.short.Write(p)
	}
	if err := g.short.Flush(); err != nil {
		return 0, err
	}
	return g.long.Write(p)
}

// listBody is a list as the body of a response.
type listBody struct {
	w        http.ResponseWriter
	buffered *bufio.Writer
	// plain compresses what turns out to be long; splice, if it is not nil, puts
	// together what is compressed already.
	plain  *reply.Stream
	splice *reply.Splice
}

func newListBody(w http.ResponseWriter, r *http.Request, f negotiate.Format) *listBody {
	w.Header().Set("Content-Type", f.ContentType())
	return &listBody{w: w, buffered: listBuffers.Get().(*bufio.Writer), plain: reply.NewStream(w, r, http.StatusOK)}
}

func (b *listBody) release() {
	b.buffered.Reset(nil)
	listBuffers.Put(b.buffered)
}

// open begins the body.
func (b *listBody) open(deflated bool) listWriter {
	if !deflated {
		b.buffered.Reset(b.plain)
		return plainList{gathered{b.buffered, b.plain}}
	}
	reply.BeginGzip(b.w, http.StatusOK)
	b.buffered.Reset(b.w)
	b.splice = reply.NewSplice(gathered{b.buffered, b.w})
	return b.splice
}

// end ends the body, unless there was an error. Once the header has been sent, a
// Status can no longer be, and a body cut short must not look whole.
func (b *listBody) end(l *lister, err error) error {
	if err == nil {
		err = l.end()
	}
	if err != nil && b.splice == nil && !b.plain.Started() {
		return err
	}
	if err == nil {
		err = b.finish()
	}
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}

func (b *listBody) finish() error {
	if b.splice != nil {
		if err := b.splice.Close(); err != nil {
			return err
		}
		return b.buffered.Flush()
	}
	if err := b.buffered.Flush(); err != nil {
		return err
	}
	return b.plain.Close()
}

// lister writes one list.
type lister struct {
	target routes.Target
	format negotiate.Format
	// open returns what the list is written to, once its header is known.
	open func(deflated bool) listWriter

	w      listWriter // nil until the header has come
	header *storev1.ListHeader
	cut    kinds.ItemCut
	begun  bool  // an item has been written
	left   int64 // how long the items to come are, in Protobuf
	head   []byte
}

// add writes a part of the list. The first has the header.
func (l *lister) add(resp *storev1.ListResponse) error {
	if l.w == nil {
		header := resp.GetHeader()
		if header == nil {
			return errors.New("the Store's list does not begin with a header")
		}
		return l.begin(header)
	}
	for _, obj := range resp.GetObjects().GetObjects() {
		if err := l.object(obj); err != nil {
			return err
		}
	}
	for _, c := range resp.GetChunks().GetChunks() {
		if err := l.chunk(c); err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) begin(header *storev1.ListHeader) error {
	l.header, l.w, l.cut = header, l.open(header.GetDeflated()), l.target.Kind.ItemCut()
	metadata := &metav1.ListMeta{
		ResourceVersion: header.GetResourceVersion(), Continue: header.GetNextPageToken(),
		RemainingItemCount: header.RemainingItemCount,
	}
	write := l.jsonHead
	if l.format.Media == negotiate.Protobuf {
		write = l.protobufHead
	}
	head, err := write(metadata)
	if err != nil {
		return err
	}
	_, err = l.w.Write(head)
	return err
}

// all writes a header and objects that are there already.
func (l *lister) all(header *storev1.ListHeader, objects []*storev1.Object) error {
	if err := l.begin(header); err != nil {
		return err
	}
	for _, obj := range objects {
		if err := l.object(obj); err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) jsonHead(metadata *metav1.ListMeta) ([]byte, error) {
	b, err := json.Marshal(metadata)
	if err != nil {
		return nil, fmt.Errorf("encode the list's metadata: %w", err)
	}
	apiVersion, kind := listKind(l.target, l.format, l.header).ToAPIVersionAndKind()
	head := fmt.Appendf(nil, `{"kind":%q,"apiVersion":%q,"metadata":%s,`, kind, apiVersion, b)
	if l.format.IsTable() {
		head = append(head, `"columnDefinitions":`...)
		head = append(head, l.header.GetTableColumns()...)
		return append(head, `,"rows":[`...), nil
	}
	return append(head, `"items":[`...), nil
}

// protobufHead is what precedes the items of an enveloped message, whose length it
// begins with.
func (l *lister) protobufHead(metadata *metav1.ListMeta) ([]byte, error) {
	b, err := envelope.AppendListMeta(nil, metadata)
	if err != nil {
		return nil, err
	}
	l.left = l.header.GetItemsSize()
	head := envelope.AppendHead(nil, listKind(l.target, l.format, l.header), len(b)+int(l.left))
	return append(head, b...), nil
}

// object writes one item.
func (l *lister) object(obj *storev1.Object) error {
	item := obj.GetObject().GetValue()
	l.head = l.head[:0]
	if l.format.Media == negotiate.Protobuf {
		l.left -= int64(envelope.ItemSize(len(item)))
		l.head = envelope.ItemHead(l.head, len(item))
	} else {
		item = bytes.TrimSuffix(inVersion(l.format, obj.GetJson()), newline)
		l.separate()
		l.head, item = l.cut.Cut(l.head, item)
	}
	if _, err := l.w.Write(l.head); err != nil {
		return err
	}
	_, err := l.w.Write(item)
	return err
}

// separate puts what stands between an item and the one before it into head.
func (l *lister) separate() {
	if l.begun {
		l.head = append(l.head, ',')
	}
	l.begun = true
}

// chunk writes several items.
func (l *lister) chunk(c *storev1.Chunk) error {
	l.head = l.head[:0]
	if l.format.Media == negotiate.Protobuf {
		l.left -= c.GetSize()
	} else {
		l.separate()
	}
	if _, err := l.w.Write(l.head); err != nil {
		return err
	}
	if content := c.GetContent(); content != nil {
		_, err := l.w.Write(content)
		return err
	}
	return l.w.Deflated(c.GetBlocks(), c.GetSize(), c.GetCrc32())
}

// end ends the list.
func (l *lister) end() error {
	switch {
	case l.w == nil:
		return errors.New("the Store's list is empty")
	case l.format.Media == negotiate.Protobuf && l.left != 0:
		return fmt.Errorf("the Store's list is %d bytes shorter than it said", l.left)
	case l.format.Media == negotiate.Protobuf:
		return nil
	}
	_, err := io.WriteString(l.w, "]}\n")
	return err
}
