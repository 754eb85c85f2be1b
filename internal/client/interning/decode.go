package interning

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	corev1 "k8s.io/api/core/v1"
)

// The fields of a Pod's message, and of a PodSpec's, that are looked for.
const (
	podSpecField  protowire.Number = 2
	nodeNameField protowire.Number = 10
)

// Decode decodes a pod's message, lets trim drop what is not to be kept (nil
// drops nothing) and makes the pod share as Share does. The spec is looked for
// before it is decoded: but for the node it is the same in all pods of a
// template, and in all versions of a pod, so that most specs never are. trim may
// therefore set fields of the pod and of its spec, and must change nothing that
// those point to.
func (p *Pool) Decode(message []byte, pod *corev1.Pod, trim func(*corev1.Pod)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.decode(message, pod); err != nil {
		return fmt.Errorf("decode a pod: %w", err)
	}
	if trim != nil {
		trim(pod)
	}
	p.meta(&pod.ObjectMeta)
	p.podStatus(&pod.Status)
	return nil
}

// decode decodes a pod whose spec is shared. The caller holds mu.
func (p *Pool) decode(message []byte, pod *corev1.Pod) error {
	spec, rest, ok := cut(p.rest[:0], message, podSpecField)
	if p.rest = rest; !ok {
		if err := pod.Unmarshal(message); err != nil {
			return err
		}
		p.podSpec(&pod.Spec)
		return nil
	}
	if err := pod.Unmarshal(rest); err != nil {
		return err
	}
	return p.spec(spec, &pod.Spec)
}

// spec decodes a spec, or finds one that is the same but for the node.
func (p *Pool) spec(message []byte, out *corev1.PodSpec) error {
	node, key, ok := cut(append(p.scratch[:0], specKey...), message, nodeNameField)
	if p.scratch = key; ok {
		if have, ok := get[*corev1.PodSpec](p); ok {
			*out = *have
			out.NodeName = string(node)
			text(&out.NodeName)
			return nil
		}
	}
	if err := out.Unmarshal(message); err != nil {
		return err
	}
	p.podSpec(out) // changes scratch
	if !ok {
		return nil
	}
	kept := *out
	kept.NodeName = ""
	_, p.scratch, _ = cut(append(p.scratch[:0], specKey...), message, nodeNameField)
	known(p, &kept)
	p.size += specSize
	return nil
}

// specSize is about what a spec takes beside its parts.
const specSize = 1 << 10

// specKey begins the keys of specs, as no encoding of a part does.
var specKey = []byte{0}

// cut returns the value of a field that a message has exactly once and as bytes,
// and appends all others to rest. ok is false if it has not, or is no message.
func cut(rest, message []byte, field protowire.Number) (value, others []byte, ok bool) {
	for len(message) > 0 {
		number, kind, tag := protowire.ConsumeTag(message)
		if tag < 0 {
			return nil, rest, false
		}
		size := protowire.ConsumeFieldValue(number, kind, message[tag:])
		switch {
		case size < 0:
			return nil, rest, false
		case number != field:
			rest = append(rest, message[:tag+size]...)
		case kind != protowire.BytesType || ok:
			return nil, rest, false
		default:
			value, _ = protowire.ConsumeBytes(message[tag:])
			ok = true
		}
		message = message[tag+size:]
	}
	return value, rest, ok
}
