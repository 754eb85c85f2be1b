package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

type heartbeatStream = grpc.BidiStreamingClient[storev1.HeartbeatRequest, storev1.HeartbeatResponse]

// keepHeartbeat keeps a heartbeat stream open until ctx ends. When one breaks,
// the Lease is renewed at once: a Store may tell that the agent is lost.
func (n *Node) keepHeartbeat(ctx context.Context) {
	k := leaseKeeper{Node: n, fencing: n.cfg.Fencing.orNone()} // for its timings
	for ctx.Err() == nil {
		err := n.beat(ctx, k.interval())
		if ctx.Err() != nil {
			return
		}
		n.log.DebugContext(ctx, "the heartbeat stream ended", "error", err)
		n.nameStream(nil)
		if sleep(ctx, k.retry()) != nil {
			return
		}
	}
}

// nameStream has the Lease name another stream.
func (n *Node) nameStream(id *string) {
	if n.stream.Swap(id) == nil && id == nil {
		return
	}
	n.RenewLease()
}

// beat opens a stream and sends on it until it breaks or ctx ends. A stream
// that is left open by an agent that ends was not lost, so it is closed then.
func (n *Node) beat(ctx context.Context, interval time.Duration) error {
	open, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stream, id, err := n.openStream(open, interval)
	if err != nil {
		return err
	}
	lost := make(chan error, 1)
	confirmed := make(chan struct{})
	go func() {
		if _, err := stream.Recv(); err != nil {
			lost <- err
			return
		}
		close(confirmed)
		_, err := stream.Recv() // nothing more comes
		lost <- err
	}()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-confirmed:
			confirmed = nil
			n.nameStream(&id)
		case err := <-lost:
			return fmt.Errorf("the heartbeat stream broke: %w", err)
		case <-ticker.C:
			if err := stream.Send(&storev1.HeartbeatRequest{}); err != nil {
				return fmt.Errorf("send a heartbeat: %w", err)
			}
		case <-ctx.Done():
			return closeStream(stream, lost)
		}
	}
}

// openStream opens a stream under a name of its own.
func (n *Node) openStream(ctx context.Context, interval time.Duration) (heartbeatStream, string, error) {
	stream, err := n.client.Store().Heartbeat(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("open a heartbeat stream: %w", err)
	}
	id := uuid.NewString()
	err = stream.Send(&storev1.HeartbeatRequest{NodeName: n.cfg.Name, StreamId: id, Interval: durationpb.New(interval)})
	if err != nil {
		return nil, "", fmt.Errorf("begin a heartbeat stream: %w", err)
	}
	return stream, id, nil
}

// closeTime bounds the wait for a Store to see that a stream has been closed.
const closeTime = time.Second

// closeStream ends a stream in order.
func closeStream(stream heartbeatStream, lost <-chan error) error {
	if err := stream.CloseSend(); err != nil {
		return fmt.Errorf("close the heartbeat stream: %w", err)
	}
	select {
	case err := <-lost:
		if !errors.Is(err, io.EOF) {
			return fmt.Errorf("close the heartbeat stream: %w", err)
		}
	case <-time.After(closeTime):
	}
	return nil
}
