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

	"navarch.dev/navarch/gateway/envelope"
	"navarch.dev/navarch/gateway/negotiate"
	"navarch.dev/navarch/gateway/reply"
	"navarch.dev/navarch/gateway/routes"
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
	o, err := parseListOptions(q)
	if err != nil {
		return err
	}
	p, err := projection(f, q)
	if err != nil {
		return err
	}
	whole := f.Media == negotiate.YAML || f.Media == negotiate.JSON && truthy(q, "pretty") // what is rewritten as a whole
	stream, err := h.Store.List(r.Context(), &storev1.ListRequest{
		Resource: resource(t), Namespace: t.Namespace, LabelSelector: o.labels, FieldSelector: o.fields,
		ResourceVersion: o.resourceVersion, ResourceVersionMatch: o.match, PageSize: o.limit, PageToken: o.token,
		Encoding: encoding(f), Projection: p, Packing: packing(r, whole),
	})
	if err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	header := first.GetHeader()
	if header == nil {
		return errors.New("the Store's list does not begin with a header")
	}
	l := &lister{header: header, kind: listKind(t, f, header), format: f, next: stream.Recv}
	if whole {
		var body bytes.Buffer
		if err := l.json(plainList{&body}); err != nil {
			return err
		}
		return h.json(w, r, http.StatusOK, f, body.Bytes())
	}
	return l.serve(w, r)
}

// packing returns how the Store shall send the objects.
func packing(r *http.Request, whole bool) storev1.Packing {
	if whole || !reply.AcceptsGzip(r) {
		return storev1.Packing_PACKING_UNSPECIFIED
	}
	return storev1.Packing_PACKING_DEFLATED
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

// lister writes one list.
type lister struct {
	header *storev1.ListHeader
	kind   schema.GroupVersionKind
	format negotiate.Format
	next   func() (*storev1.ListResponse, error)
}

func (l *lister) metadata() *metav1.ListMeta {
	return &metav1.ListMeta{
		ResourceVersion: l.header.GetResourceVersion(), Continue: l.header.GetNextPageToken(),
		RemainingItemCount: l.header.RemainingItemCount,
	}
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

// serve writes the list as the response's body.
func (l *lister) serve(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Type", l.format.ContentType())
	buffered := listBuffers.Get().(*bufio.Writer)
	defer func() {
		buffered.Reset(nil)
		listBuffers.Put(buffered)
	}()
	if l.header.GetDeflated() {
		reply.BeginGzip(w, http.StatusOK)
		buffered.Reset(w)
		body := reply.NewSplice(buffered)
		return cutOff(true, l.write(body), body.Close, buffered.Flush)
	}
	body := reply.NewStream(w, r, http.StatusOK)
	buffered.Reset(body)
	err := l.write(plainList{buffered})
	return cutOff(body.Started(), err, buffered.Flush, body.Close)
}

// cutOff ends a body, unless there was an error. If the header has been sent, a
// Status can no longer be, and a body cut short must not look whole.
func cutOff(started bool, err error, end ...func() error) error {
	for _, finish := range end {
		if err == nil {
			err, started = finish(), true
		}
	}
	if err != nil && started {
		panic(http.ErrAbortHandler)
	}
	return err
}

func (l *lister) write(w listWriter) error {
	if l.format.Media == negotiate.Protobuf {
		return l.protobuf(w)
	}
	return l.json(w)
}

// each calls object with every object of the list, or chunk with every chunk.
func (l *lister) each(object func(*storev1.Object) error, chunk func(*storev1.Chunk) error) error {
	for {
		resp, err := l.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, obj := range resp.GetObjects().GetObjects() {
			if err := object(obj); err != nil {
				return err
			}
		}
		for _, c := range resp.GetChunks().GetChunks() {
			if err := chunk(c); err != nil {
				return err
			}
		}
	}
}

// json writes the list as JSON.
func (l *lister) json(w listWriter) error {
	metadata, err := json.Marshal(l.metadata())
	if err != nil {
		return fmt.Errorf("encode the list's metadata: %w", err)
	}
	apiVersion, kind := l.kind.ToAPIVersionAndKind()
	head := fmt.Sprintf(`{"kind":%q,"apiVersion":%q,"metadata":%s,`, kind, apiVersion, metadata)
	if l.format.IsTable() {
		head += `"columnDefinitions":` + string(l.header.GetTableColumns()) + `,"rows":[`
	} else {
		head += `"items":[`
	}
	if _, err := io.WriteString(w, head); err != nil {
		return err
	}
	begun := false
	separate := func() error {
		if !begun {
			begun = true
			return nil
		}
		_, err := w.Write(comma)
		return err
	}
	err = l.each(func(obj *storev1.Object) error {
		if err := separate(); err != nil {
			return err
		}
		_, err := w.Write(bytes.TrimSuffix(inVersion(l.format, obj.GetJson()), newline))
		return err
	}, func(c *storev1.Chunk) error {
		if err := separate(); err != nil {
			return err
		}
		return w.Deflated(c.GetBlocks(), c.GetSize(), c.GetCrc32())
	})
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, "]}\n")
	return err
}

var comma = []byte(",")

// protobuf writes the list as one enveloped message.
func (l *lister) protobuf(w listWriter) error {
	metadata, err := envelope.AppendListMeta(nil, l.metadata())
	if err != nil {
		return err
	}
	left := l.header.GetItemsSize() // the message's length comes before what it holds
	head := envelope.AppendHead(nil, l.kind, len(metadata)+int(left))
	if _, err := w.Write(append(head, metadata...)); err != nil {
		return err
	}
	err = l.each(func(obj *storev1.Object) error {
		raw := obj.GetObject().GetValue()
		left -= int64(envelope.ItemSize(len(raw)))
		head = envelope.ItemHead(head[:0], len(raw))
		if _, err := w.Write(head); err != nil {
			return err
		}
		_, err := w.Write(raw)
		return err
	}, func(c *storev1.Chunk) error {
		left -= c.GetSize()
		return w.Deflated(c.GetBlocks(), c.GetSize(), c.GetCrc32())
	})
	if err == nil && left != 0 {
		err = fmt.Errorf("the Store's list is %d bytes shorter than it said", left)
	}
	return err
}
