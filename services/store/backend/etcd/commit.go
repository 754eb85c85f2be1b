package etcd

import (
	"context"
	"errors"
	"fmt"
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"navarch.dev/navarch/services/store/backend"
)

// Commit implements backend.Backend.
func (b *Backend) Commit(ctx context.Context, ops ...backend.Op) (backend.Result, error) {
	if b.server != nil {
		if err := b.server.room.admit(ctx, ops); err != nil {
			return backend.Result{}, fmt.Errorf("commit %s: %w", ops[0].Key, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	w := &write{ops: ops, req: &pb.TxnRequest{}}
	for _, op := range ops {
		if err := b.addTo(ctx, w.req, op); err != nil {
			return backend.Result{}, err
		}
	}
	result, err := b.groups.do(ctx, w)
	if err != nil {
		return backend.Result{}, fmt.Errorf("commit %s: %w", ops[0].Key, translate(err))
	}
	return result, nil
}

// addTo adds an operation to a transaction: its condition, what to do if all
// conditions hold, and reading the key otherwise.
func (b *Backend) addTo(ctx context.Context, req *pb.TxnRequest, op backend.Op) error {
	key := []byte(op.Key)
	if op.Expect != backend.Any {
		req.Compare = append(req.Compare, &pb.Compare{
			Key: key, Target: pb.Compare_MOD, Result: pb.Compare_EQUAL,
			TargetUnion: &pb.Compare_ModRevision{ModRevision: expected(op)},
		})
	}
	req.Failure = append(req.Failure, &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key}}})
	switch op.Type {
	case backend.Put:
		lease, err := b.leases.id(ctx, op.TTL)
		if err != nil {
			return err
		}
		put := &pb.PutRequest{Key: key, Value: op.Value, Lease: int64(lease)}
		req.Success = append(req.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}})
	case backend.Delete:
		req.Success = append(req.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: key}}})
	}
	return nil
}

// expected returns the transaction that must have changed a key last. None can
// have done so at a revision whose slot is not the key's.
func expected(op backend.Op) int64 {
	transaction := op.Expect >> slotBits
	if op.Expect != 0 && (transaction == 0 || changeAt(transaction, op.Key) != op.Expect) {
		return math.MaxInt64
	}
	return transaction
}

// send asks etcd for the writes of a group.
func (b *Backend) send(ctx context.Context, group []*write) {
	answers, transaction, err := b.ask(ctx, group)
	switch {
	case refused(err) && len(group) > 1:
		// One of them is why, and the others shall not suffer.
		for _, w := range group {
			b.send(ctx, []*write{w})
		}
	case err != nil:
		b.doubt(group)
		for _, w := range group {
			w.finish(backend.Result{}, err)
		}
	default:
		for i, w := range group {
			for _, op := range w.ops {
				b.touched.raise(op.Key, transaction)
			}
			w.finish(resultOf(w.ops, answers[i], transaction), nil)
		}
	}
}

// doubt notes that it is not known what became of writes.
func (b *Backend) doubt(group []*write) {
	if b.roster != nil {
		b.roster.doubt()
	}
	for _, w := range group {
		for _, op := range w.ops {
			b.touched.doubt(op.Key)
		}
	}
}

// ask has etcd do the writes of a group in one transaction, and returns the answer to
// each with the transaction's revision.
func (b *Backend) ask(ctx context.Context, group []*write) ([]*pb.TxnResponse, int64, error) {
	if b.roster == nil && len(group) == 1 {
		resp, err := b.txn(ctx, group[0].req)
		return []*pb.TxnResponse{resp}, resp.GetHeader().GetRevision(), err
	}
	req := &pb.TxnRequest{Success: make([]*pb.RequestOp, len(group))}
	for i, w := range group {
		req.Success[i] = &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: w.req}}
	}
	resp, err := b.fenced(ctx, req)
	if err != nil {
		return nil, 0, err
	}
	answers := make([]*pb.TxnResponse, len(group))
	for i, r := range resp.GetResponses() {
		answers[i] = r.GetResponseTxn()
	}
	return answers, resp.GetHeader().GetRevision(), nil
}

// fenced has etcd do a transaction for as long as this Store is registered, where it
// has to be; if it is not, it is again first.
func (b *Backend) fenced(ctx context.Context, req *pb.TxnRequest) (*pb.TxnResponse, error) {
	if b.roster == nil {
		return b.txn(ctx, req)
	}
	for {
		own, condition, err := b.roster.fence(ctx)
		if err != nil {
			return nil, err
		}
		req.Compare = []*pb.Compare{condition}
		resp, err := b.txn(ctx, req)
		if err != nil {
			return nil, err
		}
		if resp.GetSucceeded() {
			b.roster.saw(resp.GetHeader().GetRevision())
			return resp, nil
		}
		b.roster.leave(own)
	}
}

// sendWaiting is send for writes of which none is worth more time than another.
func (b *Backend) sendWaiting(group []*write) {
	ctx, cancel := context.WithTimeout(b.open, requestTimeout)
	defer cancel()
	b.send(ctx, group)
}

func (b *Backend) txn(ctx context.Context, req *pb.TxnRequest) (*pb.TxnResponse, error) {
	resp, err := b.kv.Txn(ctx, req, b.sizes...)
	switch {
	case err == nil:
		return resp, nil
	case b.open.Err() != nil:
		return nil, fmt.Errorf("%w: it is closed", backend.ErrUnavailable)
	}
	return nil, clientv3.ContextError(ctx, err)
}

// refused says whether an error means that etcd has not done, and will not do, a
// transaction for what is in it or for want of space.
func refused(err error) bool {
	code := status.Code(err)
	if known := (rpctypes.EtcdError{}); errors.As(err, &known) {
		code = known.Code()
	}
	switch code {
	case codes.InvalidArgument, codes.NotFound, codes.ResourceExhausted:
		return true
	}
	return false
}

// resultOf returns what became of operations in one of etcd's transactions.
func resultOf(ops []backend.Op, resp *pb.TxnResponse, transaction int64) backend.Result {
	if !resp.GetSucceeded() {
		return backend.Result{Revision: stateAfter(transaction), Current: currentOf(resp)}
	}
	result := backend.Result{Committed: true, Revision: changeAt(transaction, ops[0].Key)}
	if len(ops) > 1 {
		result.Revisions = make([]int64, len(ops))
		for i, op := range ops {
			result.Revisions[i] = changeAt(transaction, op.Key)
		}
	}
	return result
}

// currentOf returns the keys that a refused transaction read instead.
func currentOf(resp *pb.TxnResponse) []*backend.KeyValue {
	current := make([]*backend.KeyValue, len(resp.GetResponses()))
	for i, r := range resp.GetResponses() {
		if kvs := r.GetResponseRange().GetKvs(); len(kvs) > 0 {
			kv := keyValue(kvs[0])
			current[i] = &kv
		}
	}
	return current
}
