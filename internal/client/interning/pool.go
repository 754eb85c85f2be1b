// Package interning keeps once in memory what many objects have in common.
//
// A decoded pod takes about three times the memory of its message, and nearly
// all of that is the same in every pod of one template: containers, volumes,
// tolerations, labels, owners. A Pool replaces such parts of an object by one
// copy that all objects with the same part share. It is for objects that
// nobody changes, as those of an informer; a deep copy of one shares nothing.
//
// Two parts are the same if their encodings are. That does not tell an empty
// list from none, so a Pool is for objects that have been decoded, in which
// there are no empty lists.
package interning

import (
	"encoding/binary"
	"sync"
	"unique"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// generation is how many bytes of keys make a generation: what has not been
	// asked for in that time is of one object alone, or nearly.
	generation = 4 << 20
	// longest is the longest key of a part that is looked for at all.
	longest = 64 << 10
)

// Pool remembers parts. The zero value is an empty one. It is safe for
// concurrent use.
type Pool struct {
	mu sync.Mutex // guards the fields below
	// young are the parts that were asked for lately, old those that were before:
	// when the young are too many they become the old, which are forgotten.
	young, old map[string]any
	// size is that of the keys of young.
	size int
	// scratch is where keys are made, rest what a message holds beside the part
	// that is looked for.
	scratch, rest []byte
}

// Share makes the object share what it has in common with others. The caller
// must be the only one who has the object.
func (p *Pool) Share(obj any) {
	accessor, ok := obj.(metav1.ObjectMetaAccessor)
	if !ok {
		return
	}
	meta, ok := accessor.GetObjectMeta().(*metav1.ObjectMeta)
	if !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.meta(meta)
	if pod, ok := obj.(*corev1.Pod); ok {
		p.podSpec(&pod.Spec)
		p.podStatus(&pod.Status)
	}
}

func (p *Pool) meta(m *metav1.ObjectMeta) {
	text(&m.Namespace)
	text(&m.GenerateName)
	m.Labels, m.Annotations = p.texts(m.Labels), p.texts(m.Annotations)
	m.OwnerReferences = list(p, m.OwnerReferences)
	m.Finalizers = p.words(m.Finalizers)
}

// text makes equal strings one. Unlike the parts, they are many, so it is left
// to the runtime to forget those that nobody has any more.
func text[S ~string](s *S) { *s = S(unique.Make(string(*s)).Value()) }

// known returns the part of the key in scratch: part itself if it is a new one.
// Should parts of two types have one key, the later displaces the other.
func known[T any](p *Pool, part T) T {
	if have, ok := get[T](p); ok {
		return have
	}
	if len(p.scratch) > longest {
		p.scratch = nil
		return part
	}
	keep(p, part)
	return part
}

// get returns the part of the key in scratch, if there is one.
func get[T any](p *Pool) (part T, ok bool) {
	if part, ok = p.young[string(p.scratch)].(T); ok {
		return part, true
	}
	if part, ok = p.old[string(p.scratch)].(T); ok {
		keep(p, part)
	}
	return part, ok
}

// keep remembers the part of the key in scratch.
func keep[T any](p *Pool, part T) {
	if p.young == nil || p.size > generation {
		p.old, p.young, p.size = p.young, make(map[string]any), 0
	}
	p.young[string(p.scratch)], p.size = part, p.size+len(p.scratch)
}

// add adds a string to the key.
func (p *Pool) add(s string) {
	p.scratch = binary.AppendUvarint(p.scratch, uint64(len(s)))
	p.scratch = append(p.scratch, s...)
}
