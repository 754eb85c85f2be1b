package rest

import (
	"bytes"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/gateway/envelope"
	"navarch.dev/navarch/gateway/negotiate"
	"navarch.dev/navarch/gateway/reply"
	"navarch.dev/navarch/gateway/routes"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// eventEncoder appends events in one format.
type eventEncoder interface {
	contentType() string
	columns(json []byte)
	event(dst []byte, e *storev1.WatchEvent) ([]byte, error)
	failure(dst []byte, s *metav1.Status) ([]byte, error)
}

var eventNames = map[storev1.WatchEvent_Type]string{
	storev1.WatchEvent_TYPE_ADDED:    "ADDED",
	storev1.WatchEvent_TYPE_MODIFIED: "MODIFIED",
	storev1.WatchEvent_TYPE_DELETED:  "DELETED",
	storev1.WatchEvent_TYPE_BOOKMARK: "BOOKMARK",
}

func newEventEncoder(t routes.Target, f negotiate.Format) eventEncoder {
	gvk := t.Kind.GVK()
	if f.IsMetadata() {
		gvk = schema.GroupVersionKind{Group: f.Group, Version: f.Version, Kind: "PartialObjectMetadata"}
	}
	switch {
	case f.Media == negotiate.Protobuf:
		return &protobufEvents{kind: gvk}
	case f.Media == negotiate.YAML:
		return &yamlEvents{jsonEvents{kind: gvk, format: f}}
	}
	return &jsonEvents{kind: gvk, format: f}
}

// bookmark returns the object of a BOOKMARK event: a version and nothing else.
func bookmark(e *storev1.WatchEvent, gvk schema.GroupVersionKind) *metav1.PartialObjectMetadata {
	p := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{ResourceVersion: e.GetResourceVersion()}}
	p.SetGroupVersionKind(gvk)
	if e.GetInitialEventsEnd() {
		p.Annotations = map[string]string{metav1.InitialEventsAnnotationKey: "true"}
	}
	return p
}

// jsonEvents writes one JSON object a line.
type jsonEvents struct {
	kind   schema.GroupVersionKind
	format negotiate.Format
	// definitions are a table's columns; they are sent once.
	definitions []byte
}

func (*jsonEvents) contentType() string      { return negotiate.JSON }
func (j *jsonEvents) columns(columns []byte) { j.definitions = columns }

func (j *jsonEvents) event(dst []byte, e *storev1.WatchEvent) ([]byte, error) {
	object := bytes.TrimSuffix(inVersion(j.format, e.GetObject().GetJson()), newline)
	if e.GetType() == storev1.WatchEvent_TYPE_BOOKMARK && !j.format.IsTable() {
		b, err := json.Marshal(bookmark(e, j.kind))
		if err != nil {
			return nil, fmt.Errorf("encode a bookmark: %w", err)
		}
		object = b
	}
	dst = append(dst, `{"type":"`...)
	dst = append(dst, eventNames[e.GetType()]...)
	dst = append(dst, `","object":`...)
	if j.format.IsTable() {
		dst = j.appendTable(dst, e, object)
	} else {
		dst = append(dst, object...)
	}
	return append(dst, "}\n"...), nil
}

// appendTable wraps an event's row in a Table.
func (j *jsonEvents) appendTable(dst []byte, e *storev1.WatchEvent, row []byte) []byte {
	dst = fmt.Appendf(dst, `{"kind":"Table","apiVersion":"meta.k8s.io/%s","metadata":{"resourceVersion":%q},"columnDefinitions":`,
		j.format.Version, e.GetResourceVersion())
	if j.definitions != nil {
		dst = append(dst, j.definitions...)
		j.definitions = nil
	} else {
		dst = append(dst, "null"...)
	}
	dst = append(dst, `,"rows":[`...)
	dst = append(dst, row...)
	return append(dst, "]}"...)
}

func (*jsonEvents) failure(dst []byte, s *metav1.Status) ([]byte, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode a Status: %w", err)
	}
	dst = append(dst, `{"type":"ERROR","object":`...)
	dst = append(dst, b...)
	return append(dst, "}\n"...), nil
}

// yamlEvents writes one YAML document an event.
type yamlEvents struct{ jsonEvents }

func (*yamlEvents) contentType() string { return negotiate.YAML }

func (y *yamlEvents) event(dst []byte, e *storev1.WatchEvent) ([]byte, error) {
	b, err := y.jsonEvents.event(nil, e)
	return appendDocument(dst, b, err)
}

func (y *yamlEvents) failure(dst []byte, s *metav1.Status) ([]byte, error) {
	b, err := y.jsonEvents.failure(nil, s)
	return appendDocument(dst, b, err)
}

func appendDocument(dst, document []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	text, err := reply.YAML(document)
	if err != nil {
		return nil, err
	}
	return append(append(dst, "---\n"...), text...), nil
}

// protobufEvents writes length-delimited metav1.WatchEvent messages.
type protobufEvents struct {
	kind schema.GroupVersionKind
}

func (*protobufEvents) contentType() string { return negotiate.Protobuf + ";stream=watch" }
func (*protobufEvents) columns([]byte)      {}

func (p *protobufEvents) event(dst []byte, e *storev1.WatchEvent) ([]byte, error) {
	if e.GetType() == storev1.WatchEvent_TYPE_BOOKMARK {
		// Every kind's metadata is field 1, as it is in PartialObjectMetadata.
		raw, err := bookmark(e, p.kind).Marshal()
		if err != nil {
			return nil, fmt.Errorf("encode a bookmark: %w", err)
		}
		return envelope.AppendWatchEvent(dst, "BOOKMARK", p.kind, raw), nil
	}
	return envelope.AppendWatchEvent(dst, eventNames[e.GetType()], p.kind, e.GetObject().GetObject().GetValue()), nil
}

func (*protobufEvents) failure(dst []byte, s *metav1.Status) ([]byte, error) {
	raw, err := s.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encode a Status: %w", err)
	}
	return envelope.AppendWatchEvent(dst, "ERROR", s.GroupVersionKind(), raw), nil
}
