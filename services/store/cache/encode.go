package cache

import (
	"bytes"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// Form is how a reader wants objects.
type Form struct {
	Encoding   storev1.Encoding
	Projection storev1.Projection
}

// Table says whether the form is one of the table rows.
func (f Form) Table() bool {
	switch f.Projection {
	case storev1.Projection_PROJECTION_TABLE,
		storev1.Projection_PROJECTION_TABLE_WITH_METADATA,
		storev1.Projection_PROJECTION_TABLE_WITH_OBJECT:
		return true
	}
	return false
}

// Encode returns the version in a form. The result is shared and must not be
// changed.
func (v *Version) Encode(f Form) (*storev1.Object, error) {
	switch {
	case f.Table():
		row, err := v.row(f.Projection)
		return &storev1.Object{Json: row, Trace: v.Trace}, err
	case f.Projection == storev1.Projection_PROJECTION_METADATA && f.Encoding == storev1.Encoding_ENCODING_JSON:
		b, err := v.metadataJSON()
		return &storev1.Object{Json: b, Trace: v.Trace}, err
	case f.Projection == storev1.Projection_PROJECTION_METADATA:
		return memorized(v, func(m *memo) *lazy[*storev1.Object] { return &m.metadata }, v.encodeMetadata, func(o *storev1.Object) int {
			return wrapperCost + len(o.GetObject().GetValue())
		})
	case f.Encoding == storev1.Encoding_ENCODING_JSON:
		return v.encodeJSON()
	}
	return memorized(v, func(m *memo) *lazy[*storev1.Object] { return &m.object }, func() (*storev1.Object, error) {
		return &storev1.Object{Object: v.kind.Wrap(v.wire), Trace: v.Trace}, nil
	}, func(*storev1.Object) int { return wrapperCost })
}

// JSON returns the object as Kubernetes JSON.
func (v *Version) JSON() ([]byte, error) {
	obj, err := v.encodeJSON()
	return bytes.TrimSuffix(obj.GetJson(), newline), err
}

// newline ends the JSON of an object where it is an answer of its own, which need
// not be copied for that.
var newline = []byte("\n")

func (v *Version) encodeJSON() (*storev1.Object, error) {
	return memorized(v, func(m *memo) *lazy[*storev1.Object] { return &m.json }, func() (*storev1.Object, error) {
		obj, err := v.passing()
		if err != nil {
			return nil, err
		}
		b, err := marshalJSON(obj)
		return &storev1.Object{Json: append(b, newline...), Trace: v.Trace}, err
	}, func(o *storev1.Object) int { return wrapperCost + len(o.GetJson()) })
}

func (v *Version) metadataJSON() ([]byte, error) {
	return memorized(v, func(m *memo) *lazy[[]byte] { return &m.metaJSON }, func() ([]byte, error) {
		obj, err := v.passing()
		if err != nil {
			return nil, err
		}
		return marshalJSON(PartialMetadata(obj))
	}, func(b []byte) int { return len(b) })
}

func (v *Version) encodeMetadata() (*storev1.Object, error) {
	obj, err := v.passing()
	if err != nil {
		return nil, err
	}
	any, err := kinds.Encode(PartialMetadata(obj))
	if err != nil {
		return nil, err
	}
	return &storev1.Object{Object: any, Trace: v.Trace}, nil
}

// row makes a table row. It is not kept: cells such as the age change with
// time.
func (v *Version) row(p storev1.Projection) ([]byte, error) {
	obj, err := v.passing()
	if err != nil {
		return nil, err
	}
	row := struct {
		Cells  []any           `json:"cells"`
		Object json.RawMessage `json:"object,omitempty"`
	}{Cells: Cells(v.kind, obj)}
	switch p {
	case storev1.Projection_PROJECTION_TABLE_WITH_OBJECT:
		row.Object, err = v.JSON()
	case storev1.Projection_PROJECTION_TABLE_WITH_METADATA:
		row.Object, err = v.metadataJSON()
	}
	if err != nil {
		return nil, err
	}
	return marshalJSON(row)
}

// PartialMetadata returns an object's metadata alone.
func PartialMetadata(obj kinds.Object) *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"}}
	if u, ok := obj.(*unstructured.Unstructured); ok {
		fields, _ := u.Object["metadata"].(map[string]any)
		// It was made of an ObjectMeta when the object was stored.
		_ = runtime.DefaultUnstructuredConverter.FromUnstructured(fields, &m.ObjectMeta)
		return m
	}
	accessor, ok := obj.(metav1.ObjectMetaAccessor)
	if !ok {
		return m
	}
	if meta, ok := accessor.GetObjectMeta().(*metav1.ObjectMeta); ok {
		m.ObjectMeta = *meta
	}
	return m
}

// EncodeUnstored encodes a message that is not a stored version: a Scale, a
// review, a status.
func EncodeUnstored(obj runtime.Object, gvk schema.GroupVersionKind, f Form) (*storev1.Object, error) {
	if f.Encoding != storev1.Encoding_ENCODING_JSON {
		any, err := kinds.Encode(obj)
		return &storev1.Object{Object: any}, err
	}
	obj = obj.DeepCopyObject()
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	b, err := marshalJSON(obj)
	return &storev1.Object{Json: b}, err
}

// EncodeShown is EncodeUnstored for an object of a kind that can be asked for as a
// table or for its metadata alone.
func EncodeShown(kind *kinds.Kind, obj kinds.Object, f Form) (*storev1.Object, error) {
	gvk := kind.GVK()
	switch f.Projection {
	case storev1.Projection_PROJECTION_TABLE:
		return tableRow(kind, obj, nil)
	case storev1.Projection_PROJECTION_TABLE_WITH_METADATA:
		return tableRow(kind, obj, PartialMetadata(obj))
	case storev1.Projection_PROJECTION_TABLE_WITH_OBJECT:
		obj.GetObjectKind().SetGroupVersionKind(gvk)
		return tableRow(kind, obj, obj)
	case storev1.Projection_PROJECTION_METADATA:
		m := PartialMetadata(obj)
		return EncodeUnstored(m, m.GroupVersionKind(), f)
	}
	return EncodeUnstored(obj, gvk, f)
}

func marshalJSON(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T as JSON: %w", v, err)
	}
	return b, nil
}

// Bookmark returns an object that holds nothing but a resourceVersion and, at
// the end of a watch's initial events, the annotation that says so.
func Bookmark(kind *kinds.Kind, revision int64, initialEnd bool, f Form) (*storev1.Object, error) {
	obj := kind.New()
	obj.GetObjectKind().SetGroupVersionKind(kind.GVK())
	obj.SetResourceVersion(ResourceVersion(revision))
	if initialEnd {
		obj.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	var shown runtime.Object = obj
	if f.Projection == storev1.Projection_PROJECTION_METADATA || f.Projection == storev1.Projection_PROJECTION_TABLE_WITH_METADATA {
		shown = PartialMetadata(obj)
	}
	switch {
	case f.Projection == storev1.Projection_PROJECTION_TABLE:
		return tableRow(kind, obj, nil)
	case f.Table():
		return tableRow(kind, obj, shown)
	}
	if f.Encoding != storev1.Encoding_ENCODING_JSON {
		any, err := kinds.Encode(shown)
		return &storev1.Object{Object: any}, err
	}
	b, err := marshalJSON(shown)
	return &storev1.Object{Json: b}, err
}

// tableRow is a row of an object that is not a stored version, such as an empty one.
func tableRow(kind *kinds.Kind, obj kinds.Object, shown runtime.Object) (*storev1.Object, error) {
	b, err := marshalJSON(struct {
		Cells  []any          `json:"cells"`
		Object runtime.Object `json:"object,omitempty"`
	}{Cells(kind, obj), shown})
	return &storev1.Object{Json: b}, err
}
