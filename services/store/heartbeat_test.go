package store_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/heartbeat"
	"navarch.dev/navarch/internal/identity"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/storetest"
)

const beatInterval = time.Second

// beating is a Store with the Lease of node n1, in a synctest bubble.
type beating struct {
	*client.Client
	t    *testing.T
	node storev1.StoreServiceClient
	// closeSend ends the stream opened last.
	closeSend func() error
}

func newBeating(t *testing.T) *beating {
	s := storetest.New(t)
	b := &beating{Client: s.Client(storetest.Admin()), t: t, node: storev1.NewStoreServiceClient(s.Conn(identity.Node("n1")))}
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: "n1"}}
	if err := b.Create(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *beating) lease() *coordinationv1.Lease {
	b.t.Helper()
	lease := &coordinationv1.Lease{}
	if err := b.Get(b.t.Context(), corev1.NamespaceNodeLease, "n1", lease); err != nil {
		b.t.Fatal(err)
	}
	return lease
}

// name has the Lease name a stream, as the agent does.
func (b *beating) name(stream string) {
	b.t.Helper()
	lease := b.lease()
	lease.Annotations = map[string]string{heartbeat.StreamAnnotation: stream}
	if err := b.Update(b.t.Context(), lease); err != nil {
		b.t.Fatal(err)
	}
}

// open opens a stream that the Store has confirmed.
func (b *beating) open(ctx context.Context, id string) func() error {
	b.t.Helper()
	stream, err := b.node.Heartbeat(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := stream.Send(&storev1.HeartbeatRequest{NodeName: "n1", StreamId: id, Interval: durationpb.New(beatInterval)}); err != nil {
		b.t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		b.t.Fatal(err)
	}
	b.closeSend = stream.CloseSend
	return func() error { return stream.Send(&storev1.HeartbeatRequest{}) }
}

func TestHeartbeatThatIsLostIsNoted(t *testing.T) {
	for _, tt := range []struct {
		name string
		// end ends the stream "one", which the Lease names.
		end    func(b *beating, cancel func())
		broken bool
	}{
		{"the connection breaks", func(_ *beating, cancel func()) { cancel() }, true},
		{"the agent is silent", func(*beating, func()) { time.Sleep(2 * beatInterval) }, true},
		{"it is closed in order", func(b *beating, _ func()) { _ = b.closeSend() }, false},
		{"the Lease names another one", func(b *beating, cancel func()) { b.name("two"); cancel() }, false},
		{"the Lease is gone", func(b *beating, cancel func()) {
			if err := b.Delete(b.t.Context(), b.lease(), client.DeleteOptions{}); err != nil {
				b.t.Fatal(err)
			}
			cancel()
			synctest.Wait()
			if err := b.Create(b.t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: "n1"}}); err != nil {
				b.t.Fatal(err)
			}
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBeating(t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				send := b.open(ctx, "one")
				b.name("one")
				for range 20 {
					time.Sleep(beatInterval)
					if err := send(); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
				if heartbeat.Broken(b.lease()) {
					t.Fatal("a stream on which the agent sends was taken for lost")
				}
				tt.end(b, cancel)
				synctest.Wait()
				if got := b.lease().Annotations[heartbeat.BrokenAnnotation]; (got == "one") != tt.broken {
					t.Errorf("noted %q, want a note %v", got, tt.broken)
				}
			})
		})
	}
}

func TestHeartbeatThatIsRefused(t *testing.T) {
	b := newBeating(t)
	for _, tt := range []struct {
		name  string
		first *storev1.HeartbeatRequest
		want  string
	}{
		{"no node", &storev1.HeartbeatRequest{StreamId: "one", Interval: durationpb.New(time.Second)}, "node_name"},
		{"no name", &storev1.HeartbeatRequest{NodeName: "n1", Interval: durationpb.New(time.Second)}, "stream_id"},
		{"a name that is too long", &storev1.HeartbeatRequest{NodeName: "n1", StreamId: strings.Repeat("a", 64), Interval: durationpb.New(time.Second)}, "stream_id"},
		{"a name with a slash", &storev1.HeartbeatRequest{NodeName: "n1", StreamId: "a/b", Interval: durationpb.New(time.Second)}, "stream_id"},
		{"no interval", &storev1.HeartbeatRequest{NodeName: "n1", StreamId: "one"}, "interval"},
		{"too often", &storev1.HeartbeatRequest{NodeName: "n1", StreamId: "one", Interval: durationpb.New(time.Millisecond)}, "interval"},
		{"too rarely", &storev1.HeartbeatRequest{NodeName: "n1", StreamId: "one", Interval: durationpb.New(time.Hour)}, "interval"},
		{"a negative interval", &storev1.HeartbeatRequest{NodeName: "n1", StreamId: "one", Interval: durationpb.New(-time.Second)}, "interval"},
	} {
		stream, err := b.node.Heartbeat(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(tt.first); err != nil {
			t.Fatal(err)
		}
		_, err = stream.Recv()
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
