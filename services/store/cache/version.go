package cache

import (
	"fmt"
	"slices"
	"strconv"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"k8s.io/apimachinery/pkg/runtime"

	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/backend"
)

// Version is one state of one object: what was stored at a revision. It is
// shared by every reader and never changes, but for encodings that are made
// when first asked for.
type Version struct {
	kind *kinds.Kind
	// Key is the object's key in the backend.
	Key string
	// Revision is that of the write that made this version.
	Revision int64
	// Object is the decoded object, its TypeMeta and resourceVersion set.
	Object kinds.Object
	// Trace is that of the last change of desired state; it may be nil.
	Trace *storev1.TraceContext

	// wire is the Protobuf message with the resourceVersion; its first
	// bodySize bytes are the message as stored, without.
	wire     []byte
	bodySize int

	object   lazy[*storev1.Object]
	json     lazy[[]byte]
	metadata lazy[*storev1.Object]
	metaJSON lazy[[]byte]
	fields   lazy[map[string]string]
	view     lazy[*Version]
}

// lazy is a value made when first asked for.
type lazy[T any] struct {
	once  sync.Once
	value T
	err   error
}

func (l *lazy[T]) get(make func() (T, error)) (T, error) {
	l.once.Do(func() { l.value, l.err = make() })
	return l.value, l.err
}

// Kind returns the version's kind.
func (v *Version) Kind() *kinds.Kind { return v.kind }

// Body returns the object's message as stored, without a resourceVersion.
// Equal bodies are equal objects.
func (v *Version) Body() []byte { return v.wire[:v.bodySize] }

// Draft is a version that is about to be written: its revision is not known.
type Draft struct {
	kind   *kinds.Kind
	key    string
	object kinds.Object
	trace  *storev1.TraceContext
	body   []byte
	value  []byte

	mu      sync.Mutex // guards version
	version *Version
}

// Envelope is what is stored around an object.
type Envelope struct {
	// Trace is that of the last change of desired state.
	Trace *storev1.TraceContext
	// Writer is who makes this version.
	Writer *storev1.Writer
}

// NewDraft encodes an object for storing. The draft takes the object over.
func NewDraft(kind *kinds.Kind, key string, obj kinds.Object, e Envelope) (*Draft, error) {
	obj.SetResourceVersion("")
	any, err := kinds.Encode(obj)
	if err != nil {
		return nil, err
	}
	d := &Draft{kind: kind, key: key, object: obj, trace: e.Trace, body: any.GetValue()}
	d.value, err = proto.MarshalOptions{Deterministic: true}.Marshal(&storev1.Stored{Object: any, Trace: e.Trace, Writer: e.Writer})
	if err != nil {
		return nil, fmt.Errorf("wrap the stored %s: %w", kind.Kind, err)
	}
	return d, nil
}

// Key returns the key to store it under.
func (d *Draft) Key() string { return d.key }

// Value returns what to store.
func (d *Draft) Value() []byte { return d.value }

// Body returns the object's message without a resourceVersion.
func (d *Draft) Body() []byte { return d.body }

// At returns the version that the draft became at a revision. It is nil if the
// same draft has already become another version.
func (d *Draft) At(revision int64) *Version {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.version == nil {
		d.version = newVersion(d.kind, d.key, d.object, d.trace, d.body, revision)
	}
	if d.version.Revision != revision {
		return nil
	}
	return d.version
}

// Unstored returns the draft as a version that was not written, for dry runs
// and for writes that turned out to change nothing. resourceVersion is the
// revision shown, 0 for none.
func (d *Draft) Unstored(revision int64) *Version { return d.At(revision) }

// Decode reads a stored value.
func Decode(kind *kinds.Kind, kv backend.KeyValue) (*Version, error) {
	v, _, err := DecodeWritten(kind, kv)
	return v, err
}

// DecodeWritten is Decode for those who want to know whose write it was, too.
// That is nil on values from before writers were recorded.
func DecodeWritten(kind *kinds.Kind, kv backend.KeyValue) (*Version, *storev1.Writer, error) {
	var stored storev1.Stored
	if err := proto.Unmarshal(kv.Value, &stored); err != nil {
		return nil, nil, fmt.Errorf("decode the value of %s: %w", kv.Key, err)
	}
	obj := kind.New()
	if err := kinds.Decode(stored.GetObject(), obj); err != nil {
		return nil, nil, fmt.Errorf("decode the value of %s: %w", kv.Key, err)
	}
	return newVersion(kind, kv.Key, obj, stored.GetTrace(), stored.GetObject().GetValue(), kv.Revision), stored.GetWriter(), nil
}

func newVersion(kind *kinds.Kind, key string, obj kinds.Object, trace *storev1.TraceContext, body []byte, revision int64) *Version {
	obj.GetObjectKind().SetGroupVersionKind(kind.GVK())
	obj.SetResourceVersion(ResourceVersion(revision))
	return &Version{
		kind: kind, Key: key, Revision: revision, Object: obj, Trace: trace,
		wire: withResourceVersion(body, obj.GetResourceVersion()), bodySize: len(body),
	}
}

// ResourceVersion formats a revision; 0 is the empty string.
func ResourceVersion(revision int64) string {
	if revision == 0 {
		return ""
	}
	return strconv.FormatInt(revision, 10)
}

// The field numbers of every Kubernetes object's metadata, and in it of the
// resourceVersion.
const (
	metadataField        = 1
	resourceVersionField = 6
)

// withResourceVersion returns a message with its resourceVersion set. A second
// occurrence of an embedded message is merged into the first by every Protobuf
// decoder, so nothing needs to be encoded again.
func withResourceVersion(body []byte, rv string) []byte {
	if rv == "" {
		return body
	}
	meta := protowire.AppendTag(nil, resourceVersionField, protowire.BytesType)
	meta = protowire.AppendString(meta, rv)
	wire := slices.Grow(slices.Clone(body), len(meta)+2)
	wire = protowire.AppendTag(wire, metadataField, protowire.BytesType)
	return protowire.AppendBytes(wire, meta)
}

// GoneAt returns the version as the last state of an object that was removed,
// or that left a watcher's sight, at a revision.
func (v *Version) GoneAt(revision int64) *Version {
	return newVersion(v.kind, v.Key, v.Object.DeepCopyObject().(kinds.Object), v.Trace, v.Body(), revision)
}

// As returns the version as another kind that shows the same objects.
func (v *Version) As(kind *kinds.Kind) (*Version, error) {
	if kind == v.kind {
		return v, nil
	}
	return v.view.get(func() (*Version, error) {
		obj, err := kind.StoredAs.Decode(v.Object)
		if err != nil {
			return nil, fmt.Errorf("show %s as %s: %w", v.Key, kind.Kind, err)
		}
		obj.SetResourceVersion("")
		any, err := kinds.Encode(obj)
		if err != nil {
			return nil, err
		}
		return newVersion(kind, v.Key, obj, v.Trace, any.GetValue(), v.Revision), nil
	})
}

// Field returns the value of a selectable field.
func (v *Version) Field(name string) string {
	switch name {
	case "metadata.name":
		return v.Object.GetName()
	case "metadata.namespace":
		return v.Object.GetNamespace()
	}
	fields, _ := v.fields.get(func() (map[string]string, error) {
		if v.kind.Fields == nil {
			return nil, nil
		}
		return v.kind.Fields(v.Object), nil
	})
	return fields[name]
}

// anyOf wraps encoded bytes as the message of an object's type.
func anyOf(obj runtime.Object, b []byte) *anypb.Any {
	return &anypb.Any{TypeUrl: "type.googleapis.com/" + kinds.MessageName(obj), Value: b}
}
