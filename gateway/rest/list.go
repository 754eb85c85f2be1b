package rest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/gateway/envelope"
	"navarch.dev/navarch/gateway/negotiate"
	"navarch.dev/navarch/gateway/reply"
	"navarch.dev/navarch/gateway/routes"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// listBuffer gathers small items into large writes.
const listBuffer = 64 << 10

// list serves a collection. JSON is streamed: the Store's bytes with the
// list's own around them.
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
	stream, err := h.Store.List(r.Context(), &storev1.ListRequest{
		Resource: resource(t), Namespace: t.Namespace, LabelSelector: o.labels, FieldSelector: o.fields,
		ResourceVersion: o.resourceVersion, ResourceVersionMatch: o.match, PageSize: o.limit, PageToken: o.token,
		Encoding: encoding(f), Projection: p,
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
	switch {
	case f.Media == negotiate.Protobuf:
		return l.protobuf(w, r, f)
	case f.Media == negotiate.YAML || truthy(q, "pretty"):
		var body bytes.Buffer
		if err := l.json(&body); err != nil {
			return err
		}
		return h.json(w, r, http.StatusOK, f, body.Bytes())
	}
	w.Header().Set("Content-Type", f.ContentType())
	body := reply.NewStream(w, r, http.StatusOK)
	buffered := bufio.NewWriterSize(body, listBuffer)
	err = l.json(buffered)
	if err == nil {
		err = buffered.Flush()
	}
	if err == nil {
		err = body.Close()
	}
	if err != nil && body.Started() {
		// A Status can no longer be sent; a body cut short must not look whole.
		panic(http.ErrAbortHandler)
	}
	return err
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

// each calls use with every object of the list.
func (l *lister) each(use func(*storev1.Object) error) error {
	for {
		resp, err := l.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, obj := range resp.GetObjects().GetObjects() {
			if err := use(obj); err != nil {
				return err
			}
		}
	}
}

// json writes the list as JSON.
func (l *lister) json(w io.Writer) error {
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
	separate := false
	err = l.each(func(obj *storev1.Object) error {
		if separate {
			if _, err := io.WriteString(w, ","); err != nil {
				return err
			}
		}
		separate = true
		_, err := w.Write(bytes.TrimSuffix(inVersion(l.format, obj.GetJson()), newline))
		return err
	})
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, "]}\n")
	return err
}

// protobuf writes the list as one enveloped message. Its length comes before
// its items, so they are all received first; they are not copied.
func (l *lister) protobuf(w http.ResponseWriter, r *http.Request, f negotiate.Format) error {
	metadata, err := envelope.AppendListMeta(nil, l.metadata())
	if err != nil {
		return err
	}
	size := len(metadata)
	var items [][]byte
	err = l.each(func(obj *storev1.Object) error {
		raw := obj.GetObject().GetValue()
		items = append(items, raw)
		size += envelope.ItemSize(len(raw))
		return nil
	})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", f.ContentType())
	body := reply.NewStream(w, r, http.StatusOK)
	buffered := bufio.NewWriterSize(body, listBuffer)
	_, _ = buffered.Write(envelope.AppendHead(nil, l.kind, size)) // errors stay until Flush
	_, _ = buffered.Write(metadata)
	var head []byte
	for _, raw := range items {
		head = envelope.ItemHead(head[:0], len(raw))
		_, _ = buffered.Write(head)
		_, _ = buffered.Write(raw)
	}
	if err := buffered.Flush(); err != nil {
		panic(http.ErrAbortHandler)
	}
	if err := body.Close(); err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}
