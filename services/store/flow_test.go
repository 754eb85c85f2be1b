package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/flowdefaults"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/telemetry"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/storetest"
)

// holding lets everybody do everything, but holds requests for objects named
// "held" back, which have a seat by then, until they are let go.
type holding struct{ let chan struct{} }

func (h holding) Authorize(ctx context.Context, a access.Attributes) (access.Decision, error) {
	if a.Name == "held" {
		select {
		case <-h.let:
		case <-ctx.Done():
		}
	}
	return access.Decision{Allowed: true}, nil
}

// flowStore is a Store in a bubble whose level "small" has one seat, for jane.
type flowStore struct {
	*storetest.Store
	let chan struct{}
}

// newFlowStore runs a Store of so few seats that each level has one of its own.
// queue is how many requests of jane's may wait; 0: they are refused.
func newFlowStore(t *testing.T, queue int32, opts ...storetest.Option) flowStore {
	t.Helper()
	s := flowStore{let: make(chan struct{})}
	cfg := store.DefaultConfig()
	cfg.Flow.MaxRequests, cfg.Flow.MaxMutating = 4, 4
	s.Store = storetest.New(t, append(opts, storetest.WithConfig(cfg), storetest.WithControl(func(access.Reader) (access.Control, error) {
		return access.Control{Authorizer: holding{s.let}}, nil
	}))...)
	level, schema := smallLevel(queue), schemaOf("small", "jane", "small")
	create(t, s.Client(storetest.Admin()), level, schema)
	synctest.Wait() // they are gone by
	return s
}

func smallLevel(queue int32) *flowcontrolv1.PriorityLevelConfiguration {
	l := &flowcontrolv1.PriorityLevelConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "small"},
		Spec: flowcontrolv1.PriorityLevelConfigurationSpec{
			Type: flowcontrolv1.PriorityLevelEnablementLimited,
			Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{
				NominalConcurrencyShares: ptr.To[int32](1), BorrowingLimitPercent: ptr.To[int32](0),
				LimitResponse: flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeReject},
			},
		},
	}
	if queue > 0 {
		l.Spec.Limited.LimitResponse = flowcontrolv1.LimitResponse{
			Type:    flowcontrolv1.LimitResponseTypeQueue,
			Queuing: &flowcontrolv1.QueuingConfiguration{Queues: 1, HandSize: 1, QueueLengthLimit: queue},
		}
	}
	return l
}

// schemaOf sends all requests of a user to a level.
func schemaOf(name, user, level string) *flowcontrolv1.FlowSchema {
	s := flowdefaults.MandatorySchemas()[1]
	s.ObjectMeta = metav1.ObjectMeta{Name: name}
	s.Spec.MatchingPrecedence, s.Spec.PriorityLevelConfiguration.Name = 200, level
	s.Spec.Rules[0].Subjects = []flowcontrolv1.Subject{{Kind: flowcontrolv1.SubjectKindUser, User: &flowcontrolv1.UserSubject{Name: user}}}
	return s
}

func someone(name string, groups ...string) identity.Identity {
	return identity.Identity{Name: name, Groups: append(groups, identity.GroupAuthenticated)}
}

// hold makes a request that is served until it is let go. What it returns gets its
// error then.
func (s flowStore) hold(ctx context.Context, c *client.Client) <-chan error {
	done := make(chan error, 1)
	go func() { done <- c.Get(ctx, "default", "held", &corev1.ConfigMap{}) }()
	synctest.Wait()
	return done
}

func TestRequestsBeyondALevelAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFlowStore(t, 0)
		admin, jane, joe := s.Client(storetest.Admin()), s.Client(someone("jane")), s.Client(someone("joe"))
		agent := s.Client(identity.Node("n"))
		create(t, admin, configMap("held", nil), configMap("a", nil))
		held := s.hold(t.Context(), jane)
		err := jane.Get(t.Context(), "default", "a", &corev1.ConfigMap{})
		if after, ok := apierrors.SuggestsClientDelay(err); !apierrors.IsTooManyRequests(err) || !ok || after < 1 {
			t.Errorf("jane's second request: %v, to be tried again after %d s", err, after)
		}
		for name, c := range map[string]*client.Client{"joe": joe, "an agent": agent, "admin": admin} {
			if err := c.Get(t.Context(), "default", "a", &corev1.ConfigMap{}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: "n"}}
		if err := agent.Create(t.Context(), lease); err != nil {
			t.Errorf("an agent's Lease: %v", err)
		}
		close(s.let)
		if err := <-held; err != nil {
			t.Errorf("the request that was served: %v", err)
		}
		if err := jane.Get(t.Context(), "default", "a", &corev1.ConfigMap{}); err != nil {
			t.Errorf("jane, when her first request has ended: %v", err)
		}
	})
}

func TestRequestsWaitForTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recorder := tracetest.NewSpanRecorder()
		tel := telemetry.Discard("store")
		tel.Traces = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
		s := newFlowStore(t, 2, storetest.WithTelemetry(tel))
		jane := s.Client(someone("jane"))
		create(t, s.Client(storetest.Admin()), configMap("held", nil), configMap("a", nil))
		held := s.hold(t.Context(), jane)
		get := func(ctx context.Context) <-chan error {
			done := make(chan error, 1)
			go func() { done <- jane.Get(ctx, "default", "a", &corev1.ConfigMap{}) }()
			synctest.Wait()
			return done
		}
		ctx, cancel := context.WithCancel(t.Context())
		waits, goes, full := get(t.Context()), get(ctx), get(t.Context())
		if err := <-full; !apierrors.IsTooManyRequests(err) {
			t.Errorf("the third that waits: %v", err)
		}
		cancel()
		if err := <-goes; err == nil {
			t.Error("a request that was cancelled has been served")
		}
		synctest.Wait()
		late := get(t.Context())
		time.Sleep(10 * time.Second)
		close(s.let)
		for name, done := range map[string]<-chan error{"the first": held, "the one that waits": waits, "the one behind it": late} {
			if err := <-done; err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		var waited []time.Duration
		for _, span := range recorder.Ended() {
			if span.Name() == "store.wait" {
				waited = append(waited, span.EndTime().Sub(span.StartTime()))
			}
		}
		// One was refused at once, one went away, two got their seats when the first
		// was let go.
		if diff := cmp.Diff([]time.Duration{0, 0, 10 * time.Second, 10 * time.Second}, waited); diff != "" {
			t.Errorf("spans of those who waited: %s", diff)
		}
	})
}

func TestWaitingHasAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFlowStore(t, 10)
		jane := s.Client(someone("jane"))
		s.hold(t.Context(), jane)
		for name, tc := range map[string]struct{ limit, waits time.Duration }{
			"no limit": {0, 15 * time.Second}, "a second": {time.Second, 250 * time.Millisecond}, "an hour": {time.Hour, time.Minute},
		} {
			ctx, began := t.Context(), time.Now()
			if tc.limit > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, tc.limit)
				defer cancel()
			}
			err := jane.Get(ctx, "default", "a", &corev1.ConfigMap{})
			if waited := time.Since(began); !apierrors.IsTooManyRequests(err) || waited != tc.waits {
				t.Errorf("%s: %v after %s, want %s", name, err, waited, tc.waits)
			}
		}
		close(s.let)
	})
}

// Whatever a request does, one seat is enough for it, and it gives that back.
func TestOneSeatIsEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFlowStore(t, 0)
		jane, api := s.Client(someone("jane")), storev1.NewStoreServiceClient(s.Conn(someone("jane")))
		ctx := t.Context()
		create(t, s.Client(storetest.Admin()), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "other"}},
			&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, podIn("default", "a"), podIn("other", "b"))
		configMaps := &storev1.Resource{Version: "v1", Resource: "configmaps"}
		watches, cancel := context.WithCancel(ctx)
		defer cancel()
		watch := func() error {
			stream, err := api.Watch(watches, &storev1.WatchRequest{Resource: configMaps, SendInitialEvents: true})
			if err != nil {
				return err
			}
			if _, err = stream.Recv(); err != nil {
				return err
			}
			go func() { _ = drained(stream.Recv) }()
			synctest.Wait() // it has begun
			return nil
		}
		list := func(selector string) error {
			stream, err := api.List(ctx, &storev1.ListRequest{Resource: configMaps, LabelSelector: selector})
			if err != nil {
				return err
			}
			return apistatus.FromGRPC(drained(stream.Recv))
		}
		event := func(ns string) *corev1.Event {
			return &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "e"}, InvolvedObject: corev1.ObjectReference{Namespace: ns}}
		}
		for _, step := range []struct {
			name string
			run  func() error
		}{
			{"create", func() error { return jane.Create(ctx, configMap("a", nil)) }},
			{"a watch", watch}, {"another watch", watch},
			{"get", func() error { return jane.Get(ctx, "default", "a", &corev1.ConfigMap{}) }},
			{"what is not there", func() error {
				return unless(apierrors.IsNotFound, jane.Get(ctx, "default", "none", &corev1.ConfigMap{}))
			}},
			{"what is wrong", func() error { return unless(apierrors.IsBadRequest, list("!!")) }},
			{"list", func() error { return list("") }},
			{"apply", func() error {
				_, err := api.Patch(ctx, &storev1.PatchRequest{
					Resource: configMaps, Namespace: "default", Name: "applied", Type: storev1.PatchType_PATCH_TYPE_APPLY,
					Patch:   []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"applied"}}`),
					Options: &storev1.WriteOptions{FieldManager: "tests"},
				})
				return err
			}},
			{"bind", func() error {
				a, err := kinds.Encode(event("default"))
				if err != nil {
					return err
				}
				b, err := kinds.Encode(event("other"))
				if err != nil {
					return err
				}
				_, err = api.Bind(ctx, &storev1.BindRequest{Bindings: []*storev1.Binding{
					{Namespace: "default", Name: "a", NodeName: "n", Event: &storev1.Object{Object: a}}, {Namespace: "other", Name: "b", NodeName: "n", Event: &storev1.Object{Object: b}},
				}})
				return err
			}},
			{"history", func() error {
				_, err := api.History(ctx, &storev1.HistoryRequest{Resource: configMaps, Namespace: "default", Name: "a"})
				return err
			}},
			{"a question about a path", func() error {
				_, err := api.Authorize(ctx, &storev1.AuthorizeRequest{Verb: "get", Path: "/version"})
				return err
			}},
			{"metrics", func() error {
				_, err := api.GetDocument(ctx, &storev1.GetDocumentRequest{Path: "/metrics"})
				return err
			}},
			{"delete", func() error { return jane.Delete(ctx, configMap("a", nil), client.DeleteOptions{}) }},
			{"delete many", func() error {
				_, err := api.DeleteCollection(ctx, &storev1.DeleteCollectionRequest{Resource: configMaps, Namespace: "default"})
				return err
			}},
			{"update what is gone", func() error {
				return unless(apierrors.IsNotFound, jane.Update(ctx, configMap("a", nil)))
			}},
		} {
			if err := step.run(); err != nil {
				t.Errorf("%s: %v", step.name, err)
			}
			synctest.Wait()
		}
		// With the seat taken, what lasts goes on, and is begun.
		create(t, s.Client(storetest.Admin()), configMap("held", nil))
		s.hold(ctx, jane)
		if err := watch(); !apierrors.IsTooManyRequests(apistatus.FromGRPC(err)) {
			t.Errorf("a watch without a seat: %v", err)
		}
		_, err := api.Connect(ctx, &storev1.ConnectRequest{
			Resource: &storev1.Resource{Version: "v1", Resource: "pods"}, Namespace: "default", Name: "none", Subresource: "log",
		})
		if !apierrors.IsNotFound(apistatus.FromGRPC(err)) {
			t.Errorf("a log without a seat: %v", err)
		}
		close(s.let)
	})
}

// drained receives until a stream ends.
func drained[T any](receive func() (T, error)) error {
	for {
		switch _, err := receive(); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// A client that does not read what it has asked for keeps its seat for a minute.
func TestSeatsOfThoseWhoDoNotRead(t *testing.T) {
	configMaps := &storev1.Resource{Version: "v1", Resource: "configmaps"}
	for name, ask := range map[string]func(context.Context, storev1.StoreServiceClient) (func() error, error){
		"list": func(ctx context.Context, api storev1.StoreServiceClient) (func() error, error) {
			stream, err := api.List(ctx, &storev1.ListRequest{Resource: configMaps})
			return func() error { return drained(stream.Recv) }, err
		},
		"watch": func(ctx context.Context, api storev1.StoreServiceClient) (func() error, error) {
			stream, err := api.Watch(ctx, &storev1.WatchRequest{Resource: configMaps, SendInitialEvents: true})
			return func() error { return drained(stream.Recv) }, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFlowStore(t, 0)
				jane := s.Client(someone("jane"))
				for i := range 8 {
					create(t, s.Client(storetest.Admin()), configMap(fmt.Sprint("a", i), map[string]string{"a": strings.Repeat("a", 500_000)}))
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				drain, err := ask(ctx, storev1.NewStoreServiceClient(s.Conn(someone("jane"))))
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if err := jane.Get(ctx, "default", "a0", &corev1.ConfigMap{}); !apierrors.IsTooManyRequests(err) {
					t.Errorf("jane, while she does not read: %v", err)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if err := jane.Get(ctx, "default", "a0", &corev1.ConfigMap{}); err != nil {
					t.Errorf("jane, after a minute: %v", err)
				}
				cancel()
				_ = drain() // it has ended
			})
		})
	}
}

// unless returns an error unless it is an expected one.
func unless(expected func(error) bool, err error) error {
	if expected(err) {
		return nil
	}
	return fmt.Errorf("it is not refused as it should be: %w", err)
}

func podIn(namespace, name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
}

// A gateway is told how the request that it carries was classified, whatever
// becomes of it.
func TestGatewaysAreToldTheClassification(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFlowStore(t, 0)
		admin := s.Client(storetest.Admin())
		level, schema := &flowcontrolv1.PriorityLevelConfiguration{}, &flowcontrolv1.FlowSchema{}
		if err := admin.Get(t.Context(), "", "small", level); err != nil {
			t.Fatal(err)
		}
		if err := admin.Get(t.Context(), "", "small", schema); err != nil {
			t.Fatal(err)
		}
		api := storev1.NewStoreServiceClient(s.Conn(identity.Service(identity.Gateway)))
		get := func(user, name string) (metadata.MD, error) {
			var header metadata.MD
			ctx := metadata.AppendToOutgoingContext(t.Context(), "navarch-remote-user", user, "navarch-remote-group", identity.GroupAuthenticated)
			_, err := api.Get(ctx, &storev1.GetRequest{Resource: &storev1.Resource{Version: "v1", Resource: "configmaps"}, Namespace: "default", Name: name}, grpc.Header(&header))
			return header, apistatus.FromGRPC(err)
		}
		told := func(md metadata.MD) [2]string {
			var out [2]string
			for i, key := range []string{"x-kubernetes-pf-flowschema-uid", "x-kubernetes-pf-prioritylevel-uid"} {
				if v := md.Get(key); len(v) == 1 {
					out[i] = v[0]
				}
			}
			return out
		}
		small := [2]string{string(schema.UID), string(level.UID)}
		if md, err := get("jane", "none"); !apierrors.IsNotFound(err) || told(md) != small {
			t.Errorf("of jane's request it is told %v, and %v, want %v", told(md), err, small)
		}
		if md, _ := get("joe", "none"); told(md) == small || told(md)[0] == "" {
			t.Errorf("of joe's request it is told %v", told(md))
		}
		s.hold(t.Context(), s.Client(someone("jane")))
		if md, err := get("jane", "none"); !apierrors.IsTooManyRequests(err) || told(md) != small {
			t.Errorf("of a refused request it is told %v, and %v, want %v", told(md), err, small)
		}
		close(s.let)
	})
}
