package etcd

import (
	"context"
	"fmt"
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

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
	req := &pb.TxnRequest{}
	for _, op := range ops {
		if err := b.addTo(ctx, req, op); err != nil {
			return backend.Result{}, err
		}
	}
	resp, err := b.kv.Txn(ctx, req, grpc.MaxCallSendMsgSize(2*maxRequestBytes), grpc.MaxCallRecvMsgSize(math.MaxInt32))
	if err != nil {
		return backend.Result{}, fmt.Errorf("commit %s: %w", ops[0].Key, translate(clientv3.ContextError(ctx, err)))
	}
	result := backend.Result{Committed: resp.GetSucceeded(), Revision: resp.GetHeader().GetRevision()}
	if !result.Committed {
		result.Current = currentOf(resp)
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
			TargetUnion: &pb.Compare_ModRevision{ModRevision: op.Expect},
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

// currentOf returns the keys that a refused transaction read instead.
func currentOf(resp *pb.TxnResponse) []*backend.KeyValue {
	current := make([]*backend.KeyValue, len(resp.GetResponses()))
	for i, r := range resp.GetResponses() {
		if kvs := r.GetResponseRange().GetKvs(); len(kvs) > 0 {
			current[i] = &backend.KeyValue{Key: string(kvs[0].GetKey()), Value: kvs[0].GetValue(), Revision: kvs[0].GetModRevision()}
		}
	}
	return current
}
