package registry

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/lru"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/registry/fieldshape"
)

const (
	// outcomesKept is how many outcomes are remembered, and longestOutcome how many
	// bytes the fields of one may have.
	outcomesKept   = 1024
	longestOutcome = 8 << 10
	// managersCapped is over how many managers the oldest ones' fields are put
	// together, which depends on when they wrote.
	managersCapped = 10
)

// outcomes remembers what writes made of managed fields. Whose each field is after
// a write depends on whose they were, on who writes and on which fields the write
// touches, and hardly ever on what it puts there; finding it out is a good part of
// what a write costs.
type outcomes struct {
	entries *lru.Cache // writeKey → []ownership
	buffers *sync.Pool // *[]byte, in which keys are made up
}

// writeKey is the same for two writes only if they make the same of managed fields.
type writeKey [sha256.Size]byte

// ownership is an entry of the managed fields after a write. Its time is that of the write, or else
// that of one of the entries before it.
type ownership struct {
	metav1.ManagedFieldsEntry
	timeOf int // an index of the entries before, or ofWrite
}

const ofWrite = -1

// usualKey is the size in bytes that few of what keys are hashed of exceed.
const usualKey = 4 << 10

func newOutcomes() outcomes {
	return outcomes{entries: lru.New(outcomesKept), buffers: &sync.Pool{New: func() any {
		buffer := make([]byte, 0, usualKey)
		return &buffer
	}}}
}

// keyOf returns the key of a write that changes live to obj, and the managed fields
// that there are before it. It is false for a write whose outcome depends on more.
func (o outcomes) keyOf(w Write, obj, live kinds.Object) (writeKey, []metav1.ManagedFieldsEntry, bool) {
	before, ok := entriesBefore(w, obj, live)
	if !ok || len(before) >= managersCapped {
		return writeKey{}, nil, false
	}
	version := w.Kind.GVK().GroupVersion().String()
	buffer := o.buffers.Get().(*[]byte)
	defer o.buffers.Put(buffer)
	key := appendTexts((*buffer)[:0], w.Kind.GVK().String(), w.Subresource, managerName(w))
	for _, e := range before {
		if e.APIVersion != version || e.Time == nil || e.FieldsV1 == nil {
			return writeKey{}, nil, false // it is converted, or not as this Store writes it
		}
		key = appendTexts(key, e.Manager, string(e.Operation), e.FieldsType, e.Subresource, e.FieldsV1.GetRawString())
	}
	key = binary.AppendUvarint(key, uint64(len(before)))
	key, ok = fieldshape.Change(key, live, obj)
	if !ok {
		return writeKey{}, nil, false
	}
	return sha256.Sum256(key), before, true
}

// entriesBefore returns the managed fields from which those after a write follow:
// the live object's, or what the client sent if that is the same.
func entriesBefore(w Write, obj, live kinds.Object) ([]metav1.ManagedFieldsEntry, bool) {
	sent, have := obj.GetManagedFields(), live.GetManagedFields()
	if w.Subresource != "" || sent == nil {
		return have, true
	}
	return sent, len(sent) > 0 && slices.EqualFunc(sent, have, func(a, b metav1.ManagedFieldsEntry) bool {
		return a.Manager == b.Manager && a.Operation == b.Operation && a.APIVersion == b.APIVersion && a.Subresource == b.Subresource &&
			a.FieldsType == b.FieldsType && a.FieldsV1 != nil && b.FieldsV1 != nil && a.FieldsV1.Equal(*b.FieldsV1)
	})
}

func appendTexts(b []byte, texts ...string) []byte {
	for _, t := range texts {
		b = append(binary.AppendUvarint(b, uint64(len(t))), t...)
	}
	return b
}

// get returns the managed fields after a write at a time, in the order in which
// they are kept, if a write with its key was seen.
func (o outcomes) get(key writeKey, before []metav1.ManagedFieldsEntry, at time.Time) ([]metav1.ManagedFieldsEntry, bool) {
	have, ok := o.entries.Get(key)
	if !ok {
		return nil, false
	}
	after := make([]metav1.ManagedFieldsEntry, 0, len(have.([]ownership)))
	for _, e := range have.([]ownership) {
		entry := e.ManagedFieldsEntry
		entry.FieldsV1 = entry.FieldsV1.DeepCopy()
		if e.timeOf == ofWrite {
			entry.Time = &metav1.Time{Time: at}
		} else {
			entry.Time = before[e.timeOf].Time.DeepCopy()
		}
		after = append(after, entry)
	}
	slices.SortFunc(after, olderEntry)
	return after, true
}

// olderEntry orders managed fields as apimachinery's managedfields does.
func olderEntry(a, b metav1.ManagedFieldsEntry) int {
	return cmp.Or(
		cmp.Compare(a.Operation, b.Operation),
		cmp.Compare(a.Time.Unix(), b.Time.Unix()),
		cmp.Compare(a.Manager, b.Manager),
		cmp.Compare(a.APIVersion, b.APIVersion),
		cmp.Compare(a.Subresource, b.Subresource),
	)
}

// add remembers the managed fields after a write. An entry that the write did not
// touch still has the very time that was decoded before it.
func (o outcomes) add(key writeKey, w Write, before, after []metav1.ManagedFieldsEntry) {
	var kept []ownership
	size := 0
	for _, e := range after {
		if e.Time == nil || e.FieldsV1 == nil {
			return
		}
		timeOf := slices.IndexFunc(before, func(b metav1.ManagedFieldsEntry) bool { return b.Time == e.Time })
		writes := e.Operation == metav1.ManagedFieldsOperationUpdate && e.Manager == managerName(w) && e.Subresource == w.Subresource
		if timeOf < 0 && !writes {
			return
		}
		size += len(e.FieldsV1.GetRawString())
		e.FieldsV1 = e.FieldsV1.DeepCopy()
		kept = append(kept, ownership{ManagedFieldsEntry: e, timeOf: timeOf})
	}
	if len(kept) > 0 && size <= longestOutcome {
		o.entries.Add(key, kept)
	}
}
