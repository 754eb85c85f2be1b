package etcd

import (
	"hash/fnv"

	"navarch.dev/navarch/services/store/backend"
)

// etcd's revisions number its transactions, and a group of writes is one of them.
// So that every change has a revision of its own all the same, as watches that
// resume need, the backend's revisions are etcd's with the slot of the key that was
// changed as lower digits. A key's slot is always the same. Those of the changes
// in a group differ, which gives them an order that everybody finds again, also in
// what etcd only tells the transaction and the key of, such as removals.
const (
	slotBits = 16
	// lastSlot makes a revision that of all changes of a transaction.
	lastSlot = 1<<slotBits - 1
)

// slotOf returns a key's slot.
func slotOf(key string) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key))
	sum := h.Sum64()
	return int64((sum ^ sum>>slotBits ^ sum>>(2*slotBits) ^ sum>>(3*slotBits)) & lastSlot)
}

// changeAt returns the revision of the change of a key in one of etcd's transactions.
func changeAt(transaction int64, key string) int64 { return transaction<<slotBits | slotOf(key) }

// stateAfter returns the revision of the state after one of etcd's transactions.
func stateAfter(transaction int64) int64 { return transaction<<slotBits | lastSlot }

// split returns the transaction and the slot of a revision. A revision from before
// etcd's first is of the times when revisions were etcd's own, and its history is
// not told any more.
func split(revision int64) (transaction, slot int64, err error) {
	if revision>>slotBits == 0 {
		return 0, 0, backend.ErrCompacted
	}
	return revision >> slotBits, revision & lastSlot, nil
}

// Between implements backend.Backend.
func (*Backend) Between(earlier, later int64) int64 { return later>>slotBits - earlier>>slotBits }

// seenAt returns etcd's revision at which a key is as it was at a revision: that
// of the transaction, or the one before if the key's slot comes later.
func seenAt(revision int64, key string) (int64, error) {
	if revision == 0 {
		return 0, nil
	}
	transaction, slot, err := split(revision)
	if err == nil && slotOf(key) > slot && transaction > 1 {
		transaction--
	}
	return transaction, err
}
