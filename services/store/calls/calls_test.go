package calls_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/audit"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/identity"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/auth"
	"navarch.dev/navarch/services/store/calls"
	"navarch.dev/navarch/services/store/storetest"
)

// audited is a Store whose calls are recorded.
type audited struct {
	t        *testing.T
	store    *storetest.Store
	recorder *calls.Recorder
	out      bytes.Buffer
}

func newAudited(t *testing.T, rules string) *audited {
	t.Helper()
	policy, err := audit.ParsePolicy([]byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n" + rules))
	if err != nil {
		t.Fatal(err)
	}
	a := &audited{t: t}
	a.recorder = calls.New(audit.NewOn(&a.out, policy, slog.New(slog.DiscardHandler)))
	a.store = storetest.New(t, storetest.WithControl(auth.New(auth.DefaultConfig())), storetest.WithSeed(auth.Bootstrap()...),
		storetest.WithInterceptors(a.recorder.Unary, a.recorder.Stream))
	return a
}

func (a *audited) client(id identity.Identity) *client.Client { return a.store.Client(id) }

// events returns the events so far.
func (a *audited) events() []audit.Event {
	a.t.Helper()
	synctest.Wait() // streams that were left have ended
	var events []audit.Event
	for line := range bytes.Lines(a.out.Bytes()) {
		var e audit.Event
		if err := json.Unmarshal(line, &e); err != nil {
			a.t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

// summaryOf says in a line what an event says.
func summaryOf(e *audit.Event) string {
	ref := e.ObjectRef
	if ref == nil {
		ref = &audit.ObjectReference{}
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s %s %s/%s %s/%s %d %s %s", e.Stage, e.User.Username, e.Verb, ref.Resource, ref.Subresource, ref.Namespace, ref.Name,
		e.ResponseStatus.Code, e.ResponseStatus.Reason, e.Annotations["authorization.k8s.io/decision"]))
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
}

// TestCalls makes calls of every form, each of which leaves the events of the
// request that it stands for.
func TestCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAudited(t, `
- {level: None, users: [silent]}
- {level: Metadata}
`)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		admin := a.client(storetest.Admin())
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		masters := []string{identity.GroupMasters}
		must(a.client(identity.Identity{Name: "silent", Groups: masters}).Create(ctx, configMap("unseen")))
		must(admin.Create(ctx, configMap("a")))
		_ = admin.Create(ctx, configMap("a"))
		_ = admin.Get(ctx, "default", "b", configMap(""))
		_ = a.client(identity.Identity{Name: "stranger"}).Get(ctx, "default", "a", configMap(""))
		must(admin.Patch(ctx, configMap("a"), types.MergePatchType, []byte(`{"data":{"k":"v"}}`), ""))
		must(admin.Patch(ctx, configMap("applied"), types.ApplyPatchType, []byte("apiVersion: v1\nkind: ConfigMap\n"), ""))
		for range 2 { // the first makes it
			must(admin.Update(ctx, &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "l"}}))
		}
		must(admin.List(ctx, &corev1.ConfigMapList{}, client.ListOptions{Namespace: "default"}))
		must(admin.Delete(ctx, configMap("a"), client.DeleteOptions{}))
		must(admin.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}))
		must(admin.Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
		}))
		_, err := admin.Store().Bind(ctx, &storev1.BindRequest{Bindings: []*storev1.Binding{
			{Namespace: "default", Name: "p", NodeName: "n"}, {Namespace: "default", Name: "q", NodeName: "n"},
		}})
		must(err)
		beats, err := a.client(identity.Node("n")).Store().Heartbeat(ctx)
		must(err)
		must(beats.Send(&storev1.HeartbeatRequest{NodeName: "n", StreamId: "one", Interval: durationpb.New(time.Second)}))
		_, err = beats.Recv()
		must(err)
		must(beats.CloseSend())
		synctest.Wait()
		watch, err := admin.Store().Watch(ctx, &storev1.WatchRequest{Resource: &storev1.Resource{Version: "v1", Resource: "configmaps"}, Namespace: "default"})
		must(err)
		_, err = watch.Recv()
		must(err)
		cancel()

		forwarded := metadata.AppendToOutgoingContext(t.Context(), "navarch-remote-user", "jane", "navarch-remote-group", identity.GroupMasters)
		must(a.client(identity.Service(identity.Gateway)).Create(forwarded, configMap("of-a-gateway")))

		var got []string
		for _, e := range a.events() {
			got = append(got, summaryOf(&e))
			if !strings.HasPrefix(e.RequestURI, "/navarch.store.v1.StoreService/") || e.AuditID == "" || e.RequestObject != nil || e.ResponseObject != nil {
				t.Errorf("the event is %+v", e)
			}
		}
		want := []string{
			"ResponseComplete admin create configmaps/ default/a 201  allow",
			"ResponseComplete admin create configmaps/ default/a 409 AlreadyExists allow",
			"ResponseComplete admin get configmaps/ default/b 404 NotFound allow",
			"ResponseComplete stranger get configmaps/ default/a 403 Forbidden forbid",
			"ResponseComplete admin patch configmaps/ default/a 200  allow",
			"ResponseComplete admin patch configmaps/ default/applied 201  allow",
			"ResponseComplete admin update limitranges/ default/l 201  allow",
			"ResponseComplete admin update limitranges/ default/l 200  allow",
			"ResponseComplete admin list configmaps/ default/ 200  allow",
			"ResponseComplete admin delete configmaps/ default/a 200  allow",
			"ResponseComplete admin create nodes/ /n 201  allow",
			"ResponseComplete admin create pods/ default/p 201  allow",
			"ResponseComplete admin create pods/binding default/p 201  allow",
			"ResponseComplete admin create pods/binding default/q 404 NotFound allow",
			"ResponseStarted system:node:n update leases/ kube-node-lease/n 200  allow",
			"ResponseComplete system:node:n update leases/ kube-node-lease/n 200  allow",
			"ResponseStarted admin watch configmaps/ default/ 200  allow",
			"ResponseComplete admin watch configmaps/ default/ 200  allow",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the events differ (-want +got):\n%s", diff)
		}
	})
}

// TestObjects: the objects of calls are recorded in JSON, with their kinds.
func TestObjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAudited(t, `
- {level: RequestResponse, omitManagedFields: true, resources: [{resources: [configmaps, pods/binding]}]}
- {level: Request, resources: [{group: "*", resources: [deployments]}]}
`)
		admin, ctx := a.client(storetest.Admin()), t.Context()
		cm := configMap("a")
		cm.Data = map[string]string{"k": "v"}
		if err := admin.Create(ctx, cm); err != nil {
			t.Fatal(err)
		}
		if err := admin.Patch(ctx, cm, types.ApplyPatchType, []byte("apiVersion: v1\nkind: ConfigMap\ndata: {l: w}\n"), ""); err != nil {
			t.Fatal(err)
		}
		_ = admin.Create(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "d"}})
		if _, err := admin.Store().Bind(ctx, &storev1.BindRequest{Bindings: []*storev1.Binding{{Namespace: "default", Name: "q", NodeName: "n"}}}); err != nil {
			t.Fatal(err)
		}
		events := a.events()
		if len(events) != 4 {
			t.Fatalf("there are %d events", len(events))
		}
		for i, want := range []struct{ request, response string }{
			{`"kind":"ConfigMap","metadata":{"name":"a"`, `"data":{"k":"v"}`},
			{`{"apiVersion":"v1","data":{"l":"w"},"kind":"ConfigMap"}`, `"data":{"k":"v","l":"w"}`},
			{`"kind":"Deployment","apiVersion":"apps/v1"`, ""},
			{`"target":{"kind":"Node","name":"n"}`, ""},
		} {
			e := events[i]
			if !strings.Contains(string(e.RequestObject), want.request) || !strings.Contains(string(e.ResponseObject), want.response) || (want.response == "") != (e.ResponseObject == nil) ||
				strings.Contains(string(e.ResponseObject), "managedFields") {
				t.Errorf("event %d has\n%s\n%s\nwant\n%s\n%s", i, e.RequestObject, e.ResponseObject, want.request, want.response)
			}
		}
		if e := events[2]; e.ResponseStatus.Code != 422 || e.ResponseStatus.Details == nil {
			t.Errorf("what is refused has the status %+v", e.ResponseStatus)
		}
	})
}

// asking is a stream with one request.
type asking struct {
	grpc.ServerStream
	ctx context.Context
}

func (s asking) Context() context.Context { return s.ctx }

func (asking) RecvMsg(any) error { return nil }

// TestPanic: a call that makes the Store panic is recorded, and panics on.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAudited(t, "- {level: Metadata}\n")
		for _, call := range []func(){
			func() {
				_, _ = a.recorder.Unary(t.Context(), &storev1.GetRequest{}, &grpc.UnaryServerInfo{}, func(context.Context, any) (any, error) { panic("on purpose") })
			},
			func() {
				_ = a.recorder.Stream(nil, asking{ctx: t.Context()}, &grpc.StreamServerInfo{}, func(_ any, s grpc.ServerStream) error {
					_ = s.RecvMsg(&storev1.ListRequest{})
					panic("on purpose")
				})
			},
		} {
			func() {
				defer func() {
					if p := recover(); p != "on purpose" {
						t.Errorf("it panics with %v", p)
					}
				}()
				call()
			}()
		}
		events := a.events()
		if len(events) != 2 {
			t.Fatalf("the events are %+v", events)
		}
		for i, verb := range []string{"get", "list"} {
			if e := events[i]; e.Stage != audit.Panic || e.Verb != verb || e.ResponseStatus.Code != 500 || !strings.Contains(e.ResponseStatus.Message, "on purpose") {
				t.Errorf("the event is %+v", e)
			}
		}
	})
}
