package cache

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/labels"

	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/backend"
)

// Version is one state of one object: what was stored at a revision. It is
// shared by every reader and never changes. What is kept of it is the message
// and what selectors look at; all else is made when asked for, and forgotten
// when it has not been asked for in a while.
type Version struct {
	kind *kinds.Kind
	// serial is a number that no other version has; see newSerial.
	serial uint64
	// Key is the object's key in the backend.
	Key string
	// Revision is that of the write that made this version.
	Revision int64
	// Trace is that of the last change of desired state; it may be nil.
	Trace *storev1.TraceContext

	// wire is the Protobuf message with the resourceVersion; its first
	// bodySize bytes are the message as stored, without.
	wire     []byte
	bodySize int

	name, namespace string
	labels          labels.Labels // made once, for every selector that looks at it
	fields          []string      // the values of the kind's FieldNames

	memo   atomic.Pointer[memo]
	budget atomic.Pointer[Budget]
}

// serials counts the versions' serial numbers, by which one can be told from another
// without keeping it.
var serials atomic.Uint64

// newSerial returns a serial number for a version of a key. It is odd if a list's
// chunk ends after the version, so that who looks for that need not look at the key.
func newSerial(key string) uint64 {
	serial := serials.Add(1) << 1
	if endsChunk(key) {
		serial++
	}
	return serial
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

// newVersion takes obj over.
func newVersion(kind *kinds.Kind, key string, obj kinds.Object, trace *storev1.TraceContext, body []byte, revision int64) *Version {
	v := &Version{
		kind: kind, serial: newSerial(key), Key: key, Revision: revision, Trace: trace,
		wire: withResourceVersion(kind, body, ResourceVersion(revision)), bodySize: len(body),
		name: tail(key, obj.GetName()), namespace: obj.GetNamespace(), labels: newLabelSet(obj.GetLabels()), fields: fieldValues(kind, obj),
	}
	v.stamp(obj)
	m := new(memo)
	m.cost.Store(memoCost + int64((1+decodedFactor)*len(v.wire)))
	m.decoded.preset(obj)
	v.memo.Store(m)
	return v
}

// stamp sets what is not in the stored message.
func (v *Version) stamp(obj kinds.Object) {
	if v.kind.Version != "" { // else the object itself says in which version it is stored
		obj.GetObjectKind().SetGroupVersionKind(v.kind.GVK())
	}
	obj.SetResourceVersion(ResourceVersion(v.Revision))
}

// tail returns the end of a key that is the object's name, so that it is not
// held twice; the name if the key does not end in it.
func tail(key, name string) string {
	if strings.HasSuffix(key, name) {
		return key[len(key)-len(name):]
	}
	return name
}

func fieldValues(kind *kinds.Kind, obj kinds.Object) []string {
	if kind.Fields == nil || len(kind.FieldNames) == 0 {
		return nil
	}
	all := kind.Fields(obj)
	values := make([]string, len(kind.FieldNames))
	for i, name := range kind.FieldNames {
		values[i] = all[name]
	}
	return values
}

// ResourceVersion formats a revision; 0 is the empty string.
func ResourceVersion(revision int64) string {
	if revision == 0 {
		return ""
	}
	return strconv.FormatInt(revision, 10)
}

// The field numbers of every Kubernetes object's metadata, and in it of the
// resourceVersion, which documents have as a field of their own.
const (
	metadataField        = 1
	resourceVersionField = 6
	documentVersionField = 2
)

// withResourceVersion returns a message with its resourceVersion set. A second
// occurrence of an embedded message is merged into the first by every Protobuf
// decoder, so nothing needs to be encoded again.
func withResourceVersion(kind *kinds.Kind, body []byte, rv string) []byte {
	if rv == "" {
		return body
	}
	text := protowire.SizeTag(resourceVersionField) + protowire.SizeBytes(len(rv))
	wire := append(make([]byte, 0, len(body)+protowire.SizeTag(metadataField)+protowire.SizeBytes(text)), body...)
	if kind.Custom != nil {
		wire = protowire.AppendTag(wire, documentVersionField, protowire.BytesType)
		return protowire.AppendString(wire, rv)
	}
	wire = protowire.AppendTag(wire, metadataField, protowire.BytesType)
	wire = protowire.AppendVarint(wire, uint64(text))
	wire = protowire.AppendTag(wire, resourceVersionField, protowire.BytesType)
	return protowire.AppendString(wire, rv)
}

// GoneAt returns the version as the last state of an object that was removed,
// or that left a watcher's sight, at a revision.
func (v *Version) GoneAt(revision int64) *Version {
	return &Version{
		kind: v.kind, serial: newSerial(v.Key), Key: v.Key, Revision: revision, Trace: v.Trace,
		wire: withResourceVersion(v.kind, v.Body(), ResourceVersion(revision)), bodySize: v.bodySize,
		name: v.name, namespace: v.namespace, labels: v.labels, fields: v.fields,
	}
}

// As returns the version as another kind that shows the same objects.
func (v *Version) As(kind *kinds.Kind) (*Version, error) {
	if kind == v.kind {
		return v, nil
	}
	view, err := memorized(v, func(m *memo) *lazy[*Version] { return m.views.of(kind) }, func() (*Version, error) { return v.viewAs(kind) },
		func(*Version) int { return 0 }) // it has a memo, and so a cost, of its own
	if m := v.memo.Load(); err != nil && m != nil {
		m.views.forget(kind) // a conversion that fails now may succeed later
	}
	return view, err
}

func (v *Version) viewAs(kind *kinds.Kind) (*Version, error) {
	obj, err := kind.StoredAs.Decode(v.Object())
	if err != nil {
		return nil, fmt.Errorf("show %s as %s: %w", v.Key, kind.Kind, err)
	}
	obj.SetResourceVersion("")
	any, err := kinds.Encode(obj)
	if err != nil {
		return nil, err
	}
	view := newVersion(kind, v.Key, obj, v.Trace, any.GetValue(), v.Revision)
	if b := v.budget.Load(); b != nil {
		b.adopt(view)
	}
	return view, nil
}

// Name returns the object's name.
func (v *Version) Name() string { return v.name }

// Namespace returns the object's namespace, "" for one of the cluster.
func (v *Version) Namespace() string { return v.namespace }

// Labels returns the object's labels.
func (v *Version) Labels() labels.Labels { return v.labels }

// Field returns the value of a selectable field.
func (v *Version) Field(name string) string {
	switch name {
	case "metadata.name":
		return v.name
	case "metadata.namespace":
		return v.namespace
	}
	if i := slices.Index(v.kind.FieldNames, name); i >= 0 && i < len(v.fields) {
		return v.fields[i]
	}
	return ""
}
