package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"navarch.dev/navarch/services/store/backend"
)

func writeOf(ops ...backend.Op) *write { return &write{ops: ops} }

func TestGroupTakes(t *testing.T) {
	put := func(key string) backend.Op { return backend.Op{Type: backend.Put, Key: key} }
	remove := func(key string) backend.Op { return backend.Op{Type: backend.Delete, Key: key} }
	check := func(key string) backend.Op { return backend.Op{Type: backend.Check, Key: key} }
	large := backend.Op{Type: backend.Put, Key: "large", Value: make([]byte, maxGroupBytes)}
	var many []backend.Op
	for i := range maxGroupOps + 1 {
		many = append(many, check(fmt.Sprint("many", i)))
	}
	twins := sameSlot(t)
	for name, tc := range map[string]struct {
		first, second *write
		together      bool
	}{
		"other keys":                      {writeOf(put("a"), check("n")), writeOf(remove("b")), true},
		"the same key looked at":          {writeOf(put("a"), check("n")), writeOf(put("b"), check("n")), true},
		"the same key written":            {writeOf(put("a")), writeOf(remove("a")), false},
		"what the first has looked at":    {writeOf(put("a"), check("n")), writeOf(put("n")), false},
		"a look at what the first writes": {writeOf(put("n")), writeOf(put("b"), check("n")), false},
		"keys of one slot":                {writeOf(put(twins[0])), writeOf(put(twins[1])), false},
		"keys of one slot, one looked at": {writeOf(put(twins[0])), writeOf(check(twins[1])), true},
		"too large together":              {writeOf(put("a")), writeOf(large), false},
		"after a large one":               {writeOf(large), writeOf(put("a")), false},
		"many operations":                 {writeOf(put("a")), writeOf(many...), false},
		"after many operations":           {writeOf(many...), writeOf(put("a")), false},
	} {
		var g group
		if !g.take(tc.first) {
			t.Errorf("%s: the first does not fit", name)
		}
		if got := g.take(tc.second); got != tc.together {
			t.Errorf("%s: together is %t", name, got)
		}
	}
	var g group
	for i := range maxGroup + 1 {
		if got := g.take(writeOf(put(fmt.Sprint("k", i*7)))); !got && i < maxGroup-1 || got && i == maxGroup {
			t.Errorf("write %d of a group is taken: %t", i+1, got)
		}
	}
}

// sameSlot returns two keys that have the same.
func sameSlot(t *testing.T) [2]string {
	seen := make(map[int64]string)
	for i := range 4 << slotBits {
		key := fmt.Sprint("/twins/", i)
		if other, ok := seen[slotOf(key)]; ok {
			return [2]string{other, key}
		}
		seen[slotOf(key)] = key
	}
	t.Fatal("no two keys share a slot")
	return [2]string{}
}

// sender is an etcd that answers when it is told to.
type sender struct {
	groups groups
	answer chan struct{}

	mu   sync.Mutex // guards sent
	sent [][]*write
}

func newSender() *sender {
	s := &sender{answer: make(chan struct{})}
	send := func(group []*write) {
		s.mu.Lock()
		s.sent = append(s.sent, group)
		s.mu.Unlock()
		<-s.answer
		for _, w := range group {
			w.finish(backend.Result{Committed: true}, nil)
		}
	}
	s.groups.send = func(_ context.Context, group []*write) { send(group) }
	s.groups.sendWaiting = send
	return s
}

func (s *sender) sizes() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sizes []int
	for _, g := range s.sent {
		sizes = append(sizes, len(g))
	}
	return sizes
}

func TestWritesThatWaitGoTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSender()
		var done atomic.Int32
		begin := func(i int) {
			go func() {
				r, err := s.groups.do(t.Context(), writeOf(backend.Op{Type: backend.Put, Key: fmt.Sprint("/key/", i)}))
				if err != nil || !r.Committed {
					t.Errorf("write %d: %+v, %v", i, r, err)
				}
				done.Add(1)
			}()
			synctest.Wait()
		}
		for i := range singlesInFlight + 10 {
			begin(i)
		}
		for range singlesInFlight {
			s.answer <- struct{}{}
			synctest.Wait()
		}
		if got, want := s.sizes(), []int{1, 1, 10}; !slices.Equal(got, want) {
			t.Errorf("groups of %v were sent, want %v", got, want)
		}
		begin(50) // nothing goes beside a group
		begin(51)
		if got, want := s.sizes(), []int{1, 1, 10}; !slices.Equal(got, want) {
			t.Errorf("groups of %v are on their way, want %v", got, want)
		}
		for range 2 {
			s.answer <- struct{}{}
			synctest.Wait()
		}
		if got, want := s.sizes(), []int{1, 1, 10, 2}; !slices.Equal(got, want) {
			t.Errorf("groups of %v were sent, want %v", got, want)
		}
		if done.Load() != singlesInFlight+12 || s.groups.inFlight != 0 {
			t.Errorf("%d writes are done, %d groups in flight", done.Load(), s.groups.inFlight)
		}
		begin(100) // at once again
		if n := len(s.sizes()); n != 5 {
			t.Errorf("%d groups were sent, want 5", n)
		}
		s.answer <- struct{}{}
		synctest.Wait()
	})
}

func TestAbandonedWritesAreNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSender()
		for i := range singlesInFlight {
			go func() { _, _ = s.groups.do(t.Context(), writeOf(backend.Op{Type: backend.Put, Key: fmt.Sprint(i)})) }()
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.groups.do(ctx, writeOf(backend.Op{Type: backend.Put, Key: "late"})); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a write whose time is over ends with %v", err)
		}
		for range singlesInFlight {
			s.answer <- struct{}{}
			synctest.Wait()
		}
		if got, want := s.sizes(), []int{1, 1}; !slices.Equal(got, want) {
			t.Errorf("groups of %v were sent, want %v", got, want)
		}
	})
}

// refusing is an etcd that refuses transactions in which a key is put.
type refusing struct {
	pb.KVClient
	key string
	err error
}

func (r refusing) Txn(ctx context.Context, req *pb.TxnRequest, opts ...grpc.CallOption) (*pb.TxnResponse, error) {
	for _, op := range req.GetSuccess() {
		nested := op.GetRequestTxn().GetSuccess()
		if string(op.GetRequestPut().GetKey()) == r.key || len(nested) > 0 && string(nested[0].GetRequestPut().GetKey()) == r.key {
			return nil, r.err
		}
	}
	return r.KVClient.Txn(ctx, req, opts...)
}

// What is wrong with one write of a group does not become the others'; what keeps
// etcd from answering does.
func TestOneOfAGroupIsRefused(t *testing.T) {
	for _, tc := range []struct {
		err, want error
		others    bool
	}{
		{rpctypes.ErrGRPCNoSpace, backend.ErrNoSpace, true},
		{rpctypes.ErrGRPCRequestTooLarge, backend.ErrTooLarge, true},
		{rpctypes.ErrGRPCLeaseNotFound, backend.ErrUnavailable, true},
		{rpctypes.ErrGRPCTimeout, backend.ErrUnavailable, false},
	} {
		b := openEmbedded(t, 64<<20)
		b.kv = refusing{b.kv, "/bad", tc.err}
		var group []*write
		for _, key := range []string{"/good/1", "/bad", "/good/2"} {
			w := writeOf(backend.Op{Type: backend.Put, Key: key, Value: []byte("v")})
			w.req = &pb.TxnRequest{}
			if err := b.addTo(t.Context(), w.req, w.ops[0]); err != nil {
				t.Fatal(err)
			}
			group = append(group, w)
		}
		b.send(t.Context(), group)
		for _, w := range group {
			bad := w.ops[0].Key == "/bad" || !tc.others
			if bad && !errors.Is(translate(w.err), tc.want) || !bad && (w.err != nil || !w.result.Committed) {
				t.Errorf("of a group of which etcd says %v, %s ends with %+v, %v", tc.err, w.ops[0].Key, w.result, w.err)
			}
		}
	}
}
