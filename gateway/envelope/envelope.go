package envelope

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// magic begins every enveloped object.
var magic = [4]byte{'k', '8', 's', 0}

// ErrNotEnveloped says that bytes do not begin as an envelope does.
var ErrNotEnveloped = errors.New("the body is not a Kubernetes Protobuf envelope")

// The field numbers of runtime.Unknown, runtime.TypeMeta, of every list
// message and of metav1.WatchEvent.
const (
	unknownTypeMeta = 1
	unknownRaw      = 2
	listMetadata    = 1
	listItems       = 2
	eventType       = 1
	eventObject     = 2
	extensionRaw    = 1
)

// Open returns the kind and the message that an enveloped object holds.
func Open(b []byte) (schema.GroupVersionKind, []byte, error) {
	if !bytes.HasPrefix(b, magic[:]) {
		return schema.GroupVersionKind{}, nil, ErrNotEnveloped
	}
	var u runtime.Unknown
	if err := u.Unmarshal(b[len(magic):]); err != nil {
		return schema.GroupVersionKind{}, nil, fmt.Errorf("open the Protobuf envelope: %w", err)
	}
	if u.ContentEncoding != "" {
		return schema.GroupVersionKind{}, nil, fmt.Errorf("open the Protobuf envelope: unknown content encoding %q", u.ContentEncoding)
	}
	return schema.FromAPIVersionAndKind(u.APIVersion, u.Kind), u.Raw, nil
}

// AppendHead appends what precedes a message of rawSize bytes in its envelope.
// Nothing follows the message.
func AppendHead(dst []byte, gvk schema.GroupVersionKind, rawSize int) []byte {
	dst = append(dst, magic[:]...)
	meta := appendTypeMeta(nil, gvk)
	dst = protowire.AppendTag(dst, unknownTypeMeta, protowire.BytesType)
	dst = protowire.AppendBytes(dst, meta)
	dst = protowire.AppendTag(dst, unknownRaw, protowire.BytesType)
	return protowire.AppendVarint(dst, uint64(rawSize))
}

func appendTypeMeta(dst []byte, gvk schema.GroupVersionKind) []byte {
	apiVersion, kind := gvk.ToAPIVersionAndKind()
	dst = protowire.AppendTag(dst, 1, protowire.BytesType)
	dst = protowire.AppendString(dst, apiVersion)
	dst = protowire.AppendTag(dst, 2, protowire.BytesType)
	return protowire.AppendString(dst, kind)
}

// Seal returns raw in its envelope.
func Seal(gvk schema.GroupVersionKind, raw []byte) []byte {
	return append(AppendHead(make([]byte, 0, len(raw)+96), gvk, len(raw)), raw...)
}

// ItemHead appends what precedes an item of size bytes in a list message.
func ItemHead(dst []byte, size int) []byte {
	dst = protowire.AppendTag(dst, listItems, protowire.BytesType)
	return protowire.AppendVarint(dst, uint64(size))
}

// ItemSize returns the bytes that an item takes in a list message.
func ItemSize(size int) int {
	return protowire.SizeTag(listItems) + protowire.SizeBytes(size)
}

// AppendListMeta appends the metadata field of a list message.
func AppendListMeta(dst []byte, m *metav1.ListMeta) ([]byte, error) {
	b, err := m.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encode the list's metadata: %w", err)
	}
	dst = protowire.AppendTag(dst, listMetadata, protowire.BytesType)
	return protowire.AppendBytes(dst, b), nil
}

// AppendWatchEvent appends one frame of a Protobuf watch: the length, then a
// metav1.WatchEvent whose object is an envelope.
func AppendWatchEvent(dst []byte, eventName string, gvk schema.GroupVersionKind, raw []byte) []byte {
	sealed := Seal(gvk, raw)
	extension := protowire.SizeTag(extensionRaw) + protowire.SizeBytes(len(sealed))
	size := protowire.SizeTag(eventType) + protowire.SizeBytes(len(eventName)) +
		protowire.SizeTag(eventObject) + protowire.SizeBytes(extension)
	dst = binary.BigEndian.AppendUint32(dst, uint32(size))
	dst = protowire.AppendTag(dst, eventType, protowire.BytesType)
	dst = protowire.AppendString(dst, eventName)
	dst = protowire.AppendTag(dst, eventObject, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(extension))
	dst = protowire.AppendTag(dst, extensionRaw, protowire.BytesType)
	return protowire.AppendBytes(dst, sealed)
}
