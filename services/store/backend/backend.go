// Package backend is the seam between the Store and what keeps its data: an
// ordered, revisioned key-value store, as etcd is.
//
// The model: every change has a revision, later ones higher ones, and each key
// remembers that of its last change. No two changes under one prefix have the same,
// unless one transaction makes both. Revisions have gaps. Reads see the newest
// revision or an older one, until that is compacted. A watch delivers every change
// after a revision, in order, each exactly once.
//
// Two packages implement Backend: etcd, and memory for tests and simulations.
// Package backendtest holds the tests that both pass.
package backend

import (
	"context"
	"errors"
	"iter"
	"time"
)

var (
	// ErrCompacted says that a read or a watch asked for a revision whose
	// history has been dropped.
	ErrCompacted = errors.New("the revision has been compacted")
	// ErrFutureRevision says that a read asked for a revision that does not
	// exist yet.
	ErrFutureRevision = errors.New("the revision has not been reached yet")
	// ErrUnavailable says that the backend cannot be reached, or cannot answer
	// for now. What became of a write is unknown.
	ErrUnavailable = errors.New("the backend is unavailable")
	// ErrTooLarge says that a value is larger than the backend takes.
	ErrTooLarge = errors.New("the value is too large")
	// ErrNoSpace says that the backend's quota, or the space on its disk, is used
	// up. Nothing was written; keys can still be removed.
	ErrNoSpace = errors.New("the backend is out of space")
)

// KeyValue is one key as of one revision.
type KeyValue struct {
	Key   string
	Value []byte
	// Revision is that of the key's last change.
	Revision int64
}

// Backend is an ordered key-value store with revisions. Its methods are safe
// for concurrent use. Values must not be changed once handed over or returned.
type Backend interface {
	// Get returns a key, nil if it is absent. Revision 0 reads the newest
	// state: everything that was written before the call began.
	Get(ctx context.Context, key string, revision int64) (*KeyValue, error)
	// List returns the keys that begin with a prefix, in order.
	List(ctx context.Context, prefix string, opts ListOptions) (Page, error)
	// Count returns how many keys begin with a prefix.
	Count(ctx context.Context, prefix string) (int64, error)
	// Commit applies all operations as one transaction, if every condition
	// holds. Otherwise it changes nothing. The newest state has all of the changes
	// or none, whichever revisions they have.
	Commit(ctx context.Context, ops ...Op) (Result, error)
	// Watch yields the changes of keys that begin with a prefix, from a
	// revision on (that revision included), as they come. The watch is open
	// while it is iterated; it ends with ctx or after a Batch with an error.
	Watch(ctx context.Context, prefix string, revision int64) iter.Seq[Batch]
	// RequestProgress asks that the open watches of a prefix deliver a Batch
	// that says how far they have come. It may be lost; ask again.
	RequestProgress(ctx context.Context, prefix string) error
	// Revision returns the newest revision, at least that of every write that
	// ended before the call.
	Revision(ctx context.Context) (int64, error)
	// Known returns a revision that is at least that of every change of a key with
	// the prefix that ended before the call, or that anybody has been shown by then,
	// if that can be told without asking others.
	Known(prefix string) (revision int64, ok bool)
	// Between returns how many transactions there may have been after one revision
	// and up to a later one.
	Between(earlier, later int64) int64
	// Compact drops the history before a revision. Keys' newest values stay.
	Compact(ctx context.Context, revision int64) error
	// Close frees what the backend holds.
	Close() error
}

// Prober is a Backend that can tell how its servers are.
type Prober interface {
	// Probe asks each server whether it serves, all at once, and returns what is
	// wrong with each, nil if nothing is. The servers are always in one order.
	Probe(ctx context.Context) []error
}

// ListOptions narrow a List.
type ListOptions struct {
	// Revision 0 is the newest.
	Revision int64
	// Limit is the most keys to return, 0 is all.
	Limit int64
	// After, if not empty, is a key to start behind.
	After string
}

// Page is what List returns.
type Page struct {
	Items []KeyValue
	// Revision is that of the state that was read.
	Revision int64
	// Remaining is how many keys follow the page: 0 if none do, otherwise about how
	// many.
	Remaining int64
}

// OpType says what an Op does.
type OpType int

// The operations.
const (
	// Put stores a value.
	Put OpType = iota + 1
	// Delete removes a key.
	Delete
	// Check only tests the condition.
	Check
)

// Any as an Op's Expect means no condition.
const Any = -1

// Op is one operation of a transaction.
type Op struct {
	Type  OpType
	Key   string
	Value []byte
	// Expect is the revision that the key must have: 0 is absent, Any is no
	// condition.
	Expect int64
	// TTL, with Put, removes the key after a while. 0 keeps it.
	TTL time.Duration
	// Urgent, with Put, is for small values that are written over and over, on
	// which others depend: they may use what is kept free for that on the disk.
	Urgent bool
}

// Result is what became of a Commit.
type Result struct {
	// Committed is false if a condition did not hold.
	Committed bool
	// Revision is that of the first operation's change, or of the state that was
	// checked.
	Revision int64
	// Revisions are those of all operations' changes, nil if all have the same.
	Revisions []int64
	// Current holds, if not committed, each operation's key as it is: nil if
	// it is absent.
	Current []*KeyValue
}

// Of returns the revision of the change that an operation has made.
func (r Result) Of(operation int) int64 {
	if r.Revisions == nil {
		return r.Revision
	}
	return r.Revisions[operation]
}

// Event is one change.
type Event struct {
	KeyValue
	// Deleted says that the key was removed; Value is empty then.
	Deleted bool
}

// Batch is what a watch delivers: whole transactions, in order.
type Batch struct {
	Events []Event
	// Progress says that every change up to this revision has been delivered;
	// 0 says nothing.
	Progress int64
	// Err ends the watch: ErrCompacted or ErrUnavailable.
	Err error
}
