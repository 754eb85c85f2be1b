package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"time"

	"google.golang.org/grpc"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/internal/heartbeat"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/cache"
	"navarch.dev/navarch/services/store/registry"
)

const (
	// shortestBeat and longestBeat bound how often an agent may want to send.
	shortestBeat = 100 * time.Millisecond
	longestBeat  = time.Minute
	// missedBeats is for how many intervals a stream may be silent.
	missedBeats = 2
	// noteTime bounds the writing of a note.
	noteTime = 5 * time.Second
)

var streamIDPattern = regexp.MustCompile(`^[A-Za-z0-9-]{1,63}$`)

// Heartbeat implements the RPC.
func (s *Store) Heartbeat(stream grpc.BidiStreamingServer[storev1.HeartbeatRequest, storev1.HeartbeatResponse]) error {
	ctx := stream.Context()
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	interval, err := beatInterval(first)
	if err != nil {
		return err
	}
	sc, err := s.enterAtOnce(ctx, target{
		resource: &storev1.Resource{Group: coordinationv1.GroupName, Version: "v1", Resource: "leases"}, verb: "update",
		namespace: corev1.NamespaceNodeLease, name: first.GetNodeName(),
	})
	if err != nil {
		return err
	}
	if err := stream.Send(&storev1.HeartbeatResponse{}); err != nil {
		return err
	}
	err = s.followBeats(stream, interval)
	if err == nil {
		return nil
	}
	select {
	case <-s.ended: // it is this Store that ends: its agents find another
		return err
	default:
	}
	if noteErr := s.noteBroken(ctx, sc, first.GetStreamId()); noteErr != nil {
		s.tel.Log.WarnContext(ctx, "a broken heartbeat stream was not noted on the Lease", "node", sc.name, "error", noteErr)
	}
	return err
}

// beatInterval checks the first message of a stream.
func beatInterval(first *storev1.HeartbeatRequest) (time.Duration, error) {
	if first.GetNodeName() == "" {
		return 0, apierrors.NewBadRequest("node_name is required in the first message")
	}
	if !streamIDPattern.MatchString(first.GetStreamId()) {
		return 0, apierrors.NewBadRequest(fmt.Sprintf("stream_id %q is not 1 to 63 letters, digits and dashes", first.GetStreamId()))
	}
	interval := first.GetInterval().AsDuration()
	if interval < shortestBeat || interval > longestBeat {
		return 0, apierrors.NewBadRequest(fmt.Sprintf("interval %s is not from %s to %s", interval, shortestBeat, longestBeat))
	}
	return interval, nil
}

// followBeats returns nil when the agent has closed the stream, or an error when
// it has been lost.
func (s *Store) followBeats(stream grpc.BidiStreamingServer[storev1.HeartbeatRequest, storev1.HeartbeatResponse], interval time.Duration) error {
	beats, ended := make(chan struct{}), make(chan error, 1)
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			if _, err := stream.Recv(); err != nil {
				ended <- err
				return
			}
			select {
			case beats <- struct{}{}:
			case <-done:
				return
			}
		}
	}()
	due := time.Now().Add(missedBeats * interval)
	silence := time.NewTimer(missedBeats * interval)
	defer silence.Stop()
	listen := func() {
		due = time.Now().Add(missedBeats * interval)
		silence.Reset(missedBeats * interval)
	}
	for {
		select {
		case <-beats:
			listen()
		case err := <-ended:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case <-silence.C:
			if overslept(due, time.Now(), interval) {
				listen()
				continue
			}
			return apierrors.NewTimeoutError("nothing was heard on the heartbeat stream for too long", 0)
		case <-s.ended:
			return apierrors.NewServiceUnavailable("the Store is shutting down")
		}
	}
}

// overslept says whether the silence ends so much later than it was to that it is
// this Store which was stopped meanwhile: what agents have sent is still to be
// read.
func overslept(due, now time.Time, interval time.Duration) bool { return now.Sub(due) > interval/2 }

// errOther says that the Lease names another stream by now, or none.
var errOther = errors.New("the Lease names another stream")

// noteBroken writes onto the node's Lease that its stream is lost, unless the
// agent has named another one. Nobody waits for the call that it belongs to.
func (s *Store) noteBroken(ctx context.Context, sc scope, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTime)
	defer cancel()
	w := registry.Write{
		Kind: sc.kind, Namespace: sc.namespace, Name: sc.name, User: identity.Service(identity.Store), Manager: fieldManager, Verb: "update",
	}
	_, err := s.registry.Change(ctx, w, func(cur *cache.Version) (kinds.Object, error) {
		lease, ok := cur.Object().DeepCopyObject().(*coordinationv1.Lease)
		if !ok || lease.Annotations[heartbeat.StreamAnnotation] != id {
			return nil, errOther
		}
		lease.Annotations = maps.Clone(lease.Annotations)
		lease.Annotations[heartbeat.BrokenAnnotation] = id
		return lease, nil
	})
	if errors.Is(err, errOther) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
