package etcd

import (
	"errors"
	"testing"

	"navarch.dev/navarch/services/store/backend"
)

// Slots are part of resource versions that clients hold, so they stay what they are.
func TestSlots(t *testing.T) {
	for key, want := range map[string]int64{
		"":                              61457,
		"/registry/pods/default/web-1":  51770,
		"/registry/pods/default/web-2":  50575,
		"/registry/leases/kube-system/": 62746,
	} {
		if got := slotOf(key); got != want {
			t.Errorf("the slot of %q is %d, want %d", key, got, want)
		}
	}
}

// A key is seen as it was before the transaction by those who have not come to its slot.
func TestSeenAt(t *testing.T) {
	const key = "/a"
	at := changeAt(7, key)
	for _, tc := range []struct{ revision, want int64 }{
		{0, 0}, // the newest
		{at, 7},
		{at - 1, 6},
		{stateAfter(7), 7},
		{stateAfter(6), 6},
		{at + 1, 7},
		{1 << slotBits, 1}, // there is none before
	} {
		if got, err := seenAt(tc.revision, key); err != nil || got != tc.want {
			t.Errorf("at %d it is seen as of %d, %v, want %d", tc.revision, got, err, tc.want)
		}
	}
	if _, err := seenAt(5000, key); !errors.Is(err, backend.ErrCompacted) {
		t.Errorf("a revision of etcd's own: %v", err)
	}
}

// A condition on a revision that the key cannot have had never holds.
func TestExpectedRevisions(t *testing.T) {
	b := openEmbedded(t, 64<<20)
	r, err := b.Commit(t.Context(), backend.Op{Type: backend.Put, Key: "/a", Value: []byte("v")})
	if err != nil {
		t.Fatal(err)
	}
	for _, expect := range []int64{r.Revision + 1, r.Revision - 1, stateAfter(r.Revision >> slotBits), r.Revision >> slotBits, 1, -2} {
		if got, err := b.Commit(t.Context(), backend.Op{Type: backend.Put, Key: "/a", Value: []byte("w"), Expect: expect}); err != nil || got.Committed {
			t.Errorf("a write that expects %d beside %d: %+v, %v", expect, r.Revision, got, err)
		}
	}
}
