package client

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// watched is a Store that only answers Watch, one step of a script per call.
type watched struct {
	storev1.StoreServiceClient
	steps []step
	calls atomic.Int32
}

// step is one watch: what must be asked for, what is answered, how it ends.
type step struct {
	from   string // the wanted resourceVersion
	events []*storev1.WatchEvent
	end    error // nil: the watch goes on
}

func (w *watched) Watch(ctx context.Context, req *storev1.WatchRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.WatchResponse], error) {
	n := int(w.calls.Add(1)) - 1
	if n >= len(w.steps) {
		return nil, status.Error(codes.Internal, "watched more often than expected")
	}
	s := w.steps[n]
	if req.GetResourceVersion() != s.from || req.GetSendInitialEvents() != (s.from == "") {
		return nil, status.Errorf(codes.Internal, "asked for %v, want a watch from %q", req, s.from)
	}
	return &scripted{ctx: ctx, step: s}, nil
}

type scripted struct {
	grpc.ClientStream
	ctx  context.Context
	step step
}

func (s *scripted) Recv() (*storev1.WatchResponse, error) {
	if len(s.step.events) > 0 {
		e := s.step.events[0]
		s.step.events = s.step.events[1:]
		return &storev1.WatchResponse{Message: &storev1.WatchResponse_Events{
			Events: &storev1.WatchEvents{Events: []*storev1.WatchEvent{e}},
		}}, nil
	}
	if s.step.end != nil {
		return nil, s.step.end
	}
	<-s.ctx.Done()
	return nil, s.ctx.Err()
}

func event(t *testing.T, kind storev1.WatchEvent_Type, name, uid, version string) *storev1.WatchEvent {
	t.Helper()
	obj := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: name, UID: types.UID(uid), ResourceVersion: version,
	}}
	body, err := kinds.Encode(obj)
	if err != nil {
		t.Fatal(err)
	}
	return &storev1.WatchEvent{Type: kind, Object: &storev1.Object{Object: body}, ResourceVersion: version}
}

// complete is the bookmark that ends the initial events.
func complete(version string) *storev1.WatchEvent {
	return &storev1.WatchEvent{Type: storev1.WatchEvent_TYPE_BOOKMARK, InitialEventsEnd: true, ResourceVersion: version}
}

func bookmark(version string) *storev1.WatchEvent {
	return &storev1.WatchEvent{Type: storev1.WatchEvent_TYPE_BOOKMARK, ResourceVersion: version}
}

// TestInformerTellsDifferences draws what the watches send as told, the
// handlers' calls in order: + added, ~ updated, - deleted.
func TestInformerTellsDifferences(t *testing.T) {
	const added, modified, deleted = storev1.WatchEvent_TYPE_ADDED, storev1.WatchEvent_TYPE_MODIFIED, storev1.WatchEvent_TYPE_DELETED
	type events = []*storev1.WatchEvent
	broken := status.Error(codes.Unavailable, "the Store went away")
	expired := apistatus.ToGRPC(apierrors.NewResourceExpired("too old"))
	first := events{event(t, added, "a", "1", "3"), event(t, added, "b", "2", "5"), complete("7")}
	for _, tc := range []struct {
		name  string
		steps []step
		told  []string
	}{
		{"what is there, then changes", []step{
			{"", append(first[:3:3], event(t, modified, "a", "1", "8"), event(t, deleted, "b", "2", "9")), nil},
		}, []string{"+a@3", "+b@5", "~a@8", "-b@9"}},
		{"a broken watch is resumed where it was", []step{
			{"", append(first[:3:3], event(t, modified, "a", "1", "8")), broken},
			{"8", events{event(t, deleted, "b", "2", "9")}, nil},
		}, []string{"+a@3", "+b@5", "~a@8", "-b@9"}},
		{"a bookmark is a place to resume from", []step{
			{"", append(first[:3:3], bookmark("20")), io.EOF},
			{"20", nil, nil},
		}, []string{"+a@3", "+b@5"}},
		{"a watch that breaks before it is complete starts again", []step{
			{"", first[:1], broken},
			{"", first, nil},
		}, []string{"+a@3", "+b@5"}},
		{"after falling behind, only what differs is told", []step{
			{"", first, broken},
			{"7", nil, expired},
			{"", events{event(t, added, "a", "1", "3"), event(t, added, "c", "3", "30"), complete("31")}, nil},
		}, []string{"+a@3", "+b@5", "+c@30", "-b@5"}},
		{"replaced while away", []step{
			{"", first, broken},
			{"7", nil, expired},
			{"", events{event(t, added, "a", "other", "30"), event(t, added, "b", "2", "5"), complete("31")}, nil},
		}, []string{"+a@3", "+b@5", "-a@3", "+a@30"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &watched{steps: tc.steps}
				informer, err := NewInformer[*corev1.ConfigMap](&Client{store: server, kinds: kinds.Default()}, InformerOptions{})
				if err != nil {
					t.Fatal(err)
				}
				var told []string
				tell := func(sign string) func(*corev1.ConfigMap) {
					return func(cm *corev1.ConfigMap) { told = append(told, sign+cm.Name+"@"+cm.ResourceVersion) }
				}
				informer.AddHandler(Handler[*corev1.ConfigMap]{
					OnAdd: tell("+"), OnDelete: tell("-"),
					OnUpdate: func(_, cm *corev1.ConfigMap) { tell("~")(cm) },
				})
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() { defer close(done); informer.Run(ctx) }()
				<-informer.Synced()
				for int(server.calls.Load()) < len(tc.steps) {
					synctest.Wait()
					time.Sleep(time.Second) // of the bubble: the wait before the next watch
				}
				synctest.Wait()
				cancel()
				<-done
				if diff := cmp.Diff(tc.told, told); diff != "" {
					t.Errorf("the handler was told (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// Of what is not kept, an update is not told, though it counts as reached.
func TestTrimmedInformersPassOverWhatTheyDoNotKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const added, modified = storev1.WatchEvent_TYPE_ADDED, storev1.WatchEvent_TYPE_MODIFIED
		labelled := func(rv, label string) *storev1.WatchEvent {
			e := event(t, modified, "a", "1", rv)
			cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", UID: "1", ResourceVersion: rv, Labels: map[string]string{"l": label}}}
			var err error
			if e.Object.Object, err = kinds.Encode(cm); err != nil {
				t.Fatal(err)
			}
			return e
		}
		server := &watched{steps: []step{{"", []*storev1.WatchEvent{
			event(t, added, "a", "1", "3"), complete("4"), event(t, modified, "a", "1", "5"), labelled("6", "x"), labelled("7", "y"), event(t, modified, "a", "2", "8"),
		}, nil}}}
		set := NewInformers(&Client{store: server, kinds: kinds.Default()})
		informer, err := TrimmedInformerFor(set, func(cm *corev1.ConfigMap) {
			if cm.Labels["l"] != "y" {
				cm.Labels = nil
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := TrimmedInformerFor(set, func(*corev1.ConfigMap) {}); err == nil {
			t.Error("another trimmed informer of the same kind was made")
		}
		var told []string
		informer.AddHandler(Handler[*corev1.ConfigMap]{
			OnUpdate: func(_, cm *corev1.ConfigMap) { told = append(told, "~"+cm.ResourceVersion) },
			OnAdd:    func(cm *corev1.ConfigMap) { told = append(told, "+"+cm.ResourceVersion) },
			OnDelete: func(cm *corev1.ConfigMap) { told = append(told, "-"+cm.ResourceVersion) },
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); informer.Run(ctx) }()
		synctest.Wait()
		if diff := cmp.Diff([]string{"+3", "~7", "-7", "+8"}, told); diff != "" {
			t.Errorf("the handler was told (-want +got):\n%s", diff)
		}
		if !informer.HasReached("8") {
			t.Error("the versions passed over have not been reached")
		}
		cancel()
		<-done
	})
}

func TestInformerReachesVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &watched{steps: []step{{"", []*storev1.WatchEvent{complete("7"), bookmark("12")}, nil}}}
		informer, err := NewInformer[*corev1.ConfigMap](&Client{store: server, kinds: kinds.Default()}, InformerOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if informer.HasReached("1") {
			t.Error("an informer that has not begun has reached a version")
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); informer.Run(ctx) }()
		synctest.Wait()
		for version, want := range map[string]bool{"7": true, "12": true, "13": false, "": false, "x": false} {
			if got := informer.HasReached(version); got != want {
				t.Errorf("HasReached(%q) = %v, want %v", version, got, want)
			}
		}
		cancel()
		<-done
	})
}

func TestNoInformerAfterStart(t *testing.T) {
	set := NewInformers(&Client{kinds: kinds.Default()})
	if err := set.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := InformerFor[*corev1.Pod](set, nil); err == nil {
		t.Error("an informer was made that nobody would run")
	}
}

func TestInformersStopWaitingWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := NewInformers(&Client{store: &watched{steps: []step{{}}}, kinds: kinds.Default()})
		one, err := InformerFor[*corev1.ConfigMap](set, nil)
		if err != nil {
			t.Fatal(err)
		}
		if two, err := InformerFor[*corev1.ConfigMap](set, nil); err != nil || one != two {
			t.Errorf("the same kind has two informers (%v)", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() { failed <- set.Start(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("Start returned %v", err)
		}
	})
}
