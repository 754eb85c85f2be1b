package kinds

import (
	"bytes"
	"fmt"
)

// ItemCut cuts objects' JSON to what stands in lists: of built-in kinds the items do
// not say again what they are, as the list says it. Those of custom kinds do.
type ItemCut struct {
	whole []byte // what an object begins with, nil if nothing is cut
}

// ItemCut returns the cut for the kind's objects.
func (k *Kind) ItemCut() ItemCut {
	if k.Custom != nil {
		return ItemCut{}
	}
	apiVersion, kind := k.GVK().ToAPIVersionAndKind()
	return ItemCut{fmt.Appendf(nil, `{"kind":%q,"apiVersion":%q,`, kind, apiVersion)}
}

// Cut appends to head what the item begins with, and returns it with the rest of the
// item, which is part of the object's JSON.
func (c ItemCut) Cut(head, object []byte) (newHead, rest []byte) {
	if len(c.whole) == 0 || !bytes.HasPrefix(object, c.whole) {
		return head, object
	}
	return append(head, '{'), object[len(c.whole):]
}
