package registry

import (
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// writer returns what is kept with a version about who made it.
func (w Write) writer(now time.Time) *storev1.Writer {
	return &storev1.Writer{
		User: w.User.Name, FieldManager: w.Manager, Verb: w.Verb, Subresource: w.Subresource, Time: timestamppb.New(now),
	}
}

// maxRemovals is how many removals' writers are remembered.
const maxRemovals = 8192

// removals remembers who removed what, since nothing is stored that could say
// it. A Store knows of its own removals since it started only.
type removals struct {
	mu      sync.Mutex // guards the fields below
	writers map[int64]*storev1.Writer
	order   []int64
}

func newRemovals() *removals { return &removals{writers: make(map[int64]*storev1.Writer)} }

func (r *removals) add(revision int64, w *storev1.Writer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.order) >= maxRemovals {
		delete(r.writers, r.order[0])
		r.order = r.order[1:]
	}
	r.writers[revision] = w
	r.order = append(r.order, revision)
}

// at returns who removed what was removed at a revision, nil if that is not
// known.
func (r *removals) at(revision int64) *storev1.Writer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.writers[revision]
}
