package controller_test

import (
	"context"
	"errors"
	"math"
	"sync"
	"testing"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/rpc"
	"navarch.dev/navarch/internal/telemetry"
	controllerv1 "navarch.dev/navarch/proto/navarch/controller/v1"
	"navarch.dev/navarch/services/controller"
	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/store/storetest"
)

// noAgents is a cluster without nodes.
type noAgents struct{}

func (noAgents) Dial(context.Context, string, string) (grpc.ClientConnInterface, error) {
	return nil, errors.New("there are no agents here")
}

// service runs the whole service over a store and returns a client of it.
func service(t *testing.T, conn grpc.ClientConnInterface, cfg controller.Config, tel telemetry.Set) controllerv1.ControllerServiceClient {
	t.Helper()
	c, err := controller.New(cfg, tel, conn, noAgents{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	channel := &inprocgrpc.Channel{}
	c.Register(channel)
	return controllerv1.NewControllerServiceClient(channel)
}

func web() *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](2), Selector: controllertest.Selector("web"), Template: controllertest.Template("web", "web:1"),
		},
	}
}

// twoPods returns a channel that is closed once two pods exist.
func twoPods(t *testing.T, c *client.Client) <-chan struct{} {
	t.Helper()
	pods, err := client.NewInformer[*corev1.Pod](c, client.InformerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	two := make(chan struct{})
	n := 0
	pods.AddHandler(client.Handler[*corev1.Pod]{OnAdd: func(*corev1.Pod) {
		if n++; n == 2 {
			close(two)
		}
	}})
	go pods.Run(t.Context())
	return two
}

func TestServiceReconcilesAndTells(t *testing.T) {
	for _, elect := range []bool{false, true} {
		store := storetest.New(t)
		admin := store.Client(storetest.Admin())
		cfg := controller.DefaultConfig()
		cfg.LeaderElect = elect
		svc := service(t, store.Conn(identity.Service(identity.Controller)), cfg, telemetry.Discard("controller"))
		watch, err := svc.WatchReconciles(t.Context(), &controllerv1.WatchReconcilesRequest{Controller: "deployment"})
		if err != nil {
			t.Fatal(err)
		}
		two := twoPods(t, admin)
		if err := admin.Create(t.Context(), web()); err != nil {
			t.Fatal(err)
		}
		<-two
		r, err := watch.Recv()
		if err != nil || r.GetController() != "deployment" || r.GetKey() != "default/web" {
			t.Errorf("leader election %v: reconcile %v, %v", elect, r, err)
		}
		list, err := svc.ListControllers(t.Context(), &controllerv1.ListControllersRequest{})
		if err != nil || !list.GetLeader() || len(list.GetControllers()) < 10 {
			t.Errorf("leader election %v: %v, %v", elect, list, err)
		}
		one, err := svc.ListControllers(t.Context(), &controllerv1.ListControllersRequest{Name: "deployment"})
		if err != nil || len(one.GetControllers()) != 1 || one.GetControllers()[0].GetReconciles() == 0 {
			t.Errorf("leader election %v: %v, %v", elect, one, err)
		}
		if _, err := svc.ListControllers(t.Context(), &controllerv1.ListControllersRequest{Name: "none"}); status.Code(err) != codes.NotFound {
			t.Errorf("an unknown controller: %v", err)
		}
	}
}

// TestRolloutIsOneTrace follows the trace of a Deployment's creation into the
// pods that come of it.
func TestRolloutIsOneTrace(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	traced := func(name string) telemetry.Set {
		tel := telemetry.Discard(name)
		tel.Traces = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
		return tel
	}
	user := traced("user")
	store := storetest.New(t, storetest.WithTelemetry(traced("store")))
	server := rpc.NewServer(traced("store"), rpc.ServerOptions{}) // its connections carry traces
	store.Register(server)
	admin := client.New(server.Local(storetest.Admin()), "test")
	service(t, server.Local(identity.Service(identity.Controller)), controller.DefaultConfig(), traced("controller"))
	two := twoPods(t, admin)
	ctx, span := user.Tracer().Start(t.Context(), "kubectl apply")
	if err := admin.Create(ctx, web()); err != nil {
		t.Fatal(err)
	}
	span.End()
	<-two
	found := make(map[string]bool)
	for _, s := range spans.Started() {
		if s.SpanContext().TraceID() == span.SpanContext().TraceID() {
			found[s.Name()] = true
		}
	}
	for _, name := range []string{"deployment.reconcile", "replicaset.reconcile", "store.Create"} {
		if !found[name] {
			t.Errorf("the trace has no span %s: %v", name, found)
		}
	}
}

func TestConfigNamesWhatIsWrong(t *testing.T) {
	for field, spoil := range map[string]func(*controller.Config){
		"workers":                      func(c *controller.Config) { c.Workers = 0 },
		"leader-identity":              func(c *controller.Config) { c.LeaderElect, c.Identity = true, "" },
		"cluster-cidr":                 func(c *controller.Config) { c.ClusterCIDR = "10.0.0.0" },
		"node-cidr-mask-size":          func(c *controller.Config) { c.NodeCIDRMaskSize = 8 },
		"node-monitor-grace-period":    func(c *controller.Config) { c.NodeLifecycle.GracePeriod = 0 },
		"node-eviction-rate":           func(c *controller.Config) { c.NodeLifecycle.EvictionRate = math.NaN() },
		"secondary-node-eviction-rate": func(c *controller.Config) { c.NodeLifecycle.SecondaryEvictionRate = -1 },
		"unhealthy-zone-threshold":     func(c *controller.Config) { c.NodeLifecycle.UnhealthyZoneThreshold = 1.1 },
		"large-cluster-size-threshold": func(c *controller.Config) { c.NodeLifecycle.LargeZoneSize = -1 },
		"disable-controllers":          func(c *controller.Config) { c.Disabled = []string{"none"} },
	} {
		cfg := controller.DefaultConfig()
		if err := cfg.Validate(); err != nil {
			t.Fatal(err)
		}
		spoil(&cfg)
		if err := cfg.Validate(); err == nil || len(err.Error()) < len(field) || err.Error()[:len(field)] != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}
