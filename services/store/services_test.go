package store_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/servicecidr"
	"navarch.dev/navarch/services/store"
	"navarch.dev/navarch/services/store/allocator"
	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/backend/memory"
	"navarch.dev/navarch/services/store/registry"
	"navarch.dev/navarch/services/store/storetest"
)

func service(name string, change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}
	for _, c := range change {
		c(s)
	}
	return s
}

func nodePort(port int32) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, port
	}
}

func clusterIP(ip string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.ClusterIP = ip }
}

func TestServicesOfEveryCluster(t *testing.T) {
	cfg := store.DefaultConfig()
	cfg.GatewayAddresses = []string{"10.1.2.3:6443"}
	c := storetest.New(t, storetest.WithConfig(cfg)).Client(storetest.Admin())
	for name, want := range map[string]string{"default/kubernetes": "10.96.0.1", "kube-system/kube-dns": "10.96.0.10"} {
		namespace, name, _ := strings.Cut(name, "/")
		var svc corev1.Service
		if err := c.Get(t.Context(), namespace, name, &svc); err != nil || svc.Spec.ClusterIP != want {
			t.Errorf("%s/%s: %v, %s", namespace, name, err, svc.Spec.ClusterIP)
		}
	}
	var e corev1.Endpoints
	if err := c.Get(t.Context(), "default", "kubernetes", &e); err != nil || e.Subsets[0].Addresses[0].IP != "10.1.2.3" {
		t.Errorf("endpoints of kubernetes: %v, %+v", err, e.Subsets)
	}
}

func TestTheAPIsServiceComesBack(t *testing.T) {
	ctx := t.Context()
	cfg := store.DefaultConfig()
	cfg.GatewayAddresses = []string{"10.1.2.3:6443"}
	c := storetest.New(t, storetest.WithConfig(cfg)).Client(storetest.Admin())
	var before, after corev1.Service
	if err := c.Get(ctx, "default", "kubernetes", &before); err != nil {
		t.Fatal(err)
	}
	create(t, c, service("a"))
	kind, err := kinds.Default().ForObject(&before)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteCollection(ctx, kind, "default", client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(ctx, "default", "a", &after); !apierrors.IsNotFound(err) {
		t.Errorf("another Service: %v", err)
	}
	if err := c.Get(ctx, "default", "kubernetes", &after); err != nil || after.UID == before.UID || after.Spec.ClusterIP != before.Spec.ClusterIP {
		t.Errorf("%v: %+v", err, after.Spec)
	}
	e := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kubernetes"}}
	if err := c.Delete(ctx, e, client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(ctx, "default", "kubernetes", e); err != nil || len(e.Subsets) != 1 {
		t.Errorf("its endpoints: %v %+v", err, e.Subsets)
	}
}

func TestServiceAddresses(t *testing.T) {
	ctx := t.Context()
	c := storetest.New(t).Client(storetest.Admin())
	a := service("a", nodePort(0))
	create(t, c, a)
	if !strings.HasPrefix(a.Spec.ClusterIP, "10.96.") || a.Spec.Ports[0].NodePort < 30000 || len(a.Spec.ClusterIPs) != 1 {
		t.Fatalf("allocated %+v", a.Spec)
	}
	tests := []struct {
		name string
		svc  *corev1.Service
		want string
	}{
		{"an address that is taken", service("b", clusterIP(a.Spec.ClusterIP)), "provided IP is already allocated"},
		{"an address out of range", service("b", clusterIP("10.0.0.1")), "does not match the current range"},
		{"a port that is taken", service("b", nodePort(a.Spec.Ports[0].NodePort)), "provided port is already allocated"},
		{"a port out of range", service("b", nodePort(80)), "The range of valid ports is 30000-32767"},
	}
	for _, test := range tests {
		if err := c.Create(ctx, test.svc); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	headless := service("headless", clusterIP(corev1.ClusterIPNone))
	create(t, c, headless)
	if headless.Spec.ClusterIP != corev1.ClusterIPNone {
		t.Errorf("headless got %s", headless.Spec.ClusterIP)
	}
	port := a.Spec.Ports[0].NodePort
	a.Spec.Type = corev1.ServiceTypeClusterIP
	if err := c.Update(ctx, a); err != nil || a.Spec.Ports[0].NodePort != 0 {
		t.Fatalf("made a ClusterIP service: %v, %+v", err, a.Spec.Ports)
	}
	create(t, c, service("c", nodePort(port)))
	ip := a.Spec.ClusterIP
	if err := c.Delete(ctx, a, client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	create(t, c, service("d", clusterIP(ip)))
}

// A Service that is no balancer any more has no addresses of one.
func TestAddressesOfBalancers(t *testing.T) {
	ctx := t.Context()
	c := storetest.New(t).Client(storetest.Admin())
	s := service("a", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeLoadBalancer })
	create(t, c, s)
	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}
	if err := c.UpdateStatus(ctx, s); err != nil || len(s.Status.LoadBalancer.Ingress) != 1 {
		t.Fatalf("balanced: %v, %+v", err, s.Status)
	}
	s.Spec.Type = corev1.ServiceTypeClusterIP
	if err := c.Update(ctx, s); err != nil || len(s.Status.LoadBalancer.Ingress) != 0 {
		t.Errorf("no longer balanced: %v, %+v", err, s.Status)
	}
}

func TestHealthCheckNodePorts(t *testing.T) {
	ctx := t.Context()
	c := storetest.New(t).Client(storetest.Admin())
	balanced := func(port int32) func(*corev1.Service) {
		return func(s *corev1.Service) {
			s.Spec.Type, s.Spec.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal
			s.Spec.HealthCheckNodePort = port
		}
	}
	a := service("a", balanced(0))
	create(t, c, a)
	port := a.Spec.HealthCheckNodePort
	if port < 30000 || port > 32767 || port == a.Spec.Ports[0].NodePort {
		t.Fatalf("health checks are answered at %d, traffic at %d", port, a.Spec.Ports[0].NodePort)
	}
	if err := c.Create(ctx, service("b", balanced(port))); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "spec.healthCheckNodePort: Invalid value: "+fmt.Sprint(port)+": provided port is already allocated") {
		t.Errorf("a port that is taken: %v", err)
	}
	a.Spec.HealthCheckNodePort = 0
	if err := c.Update(ctx, a); err != nil || a.Spec.HealthCheckNodePort != port {
		t.Errorf("an update that leaves the port out: %v, %d", err, a.Spec.HealthCheckNodePort)
	}
	a.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
	if err := c.Update(ctx, a); err != nil || a.Spec.HealthCheckNodePort != 0 {
		t.Errorf("with traffic to all nodes: %v, %d", err, a.Spec.HealthCheckNodePort)
	}
	create(t, c, service("b", balanced(port)))
}

// A range of 32 addresses, of which two are never used and two are taken from
// the start, has room for 28 Services however many come at once.
func TestNoAddressIsGivenTwice(t *testing.T) {
	cfg := store.DefaultConfig()
	cfg.ServiceCIDR = "10.7.0.0/24"
	cfg.NodePortMin, cfg.NodePortMax = 31000, 31039
	c := storetest.New(t, storetest.WithConfig(cfg)).Client(storetest.Admin())
	var wg sync.WaitGroup
	var mu sync.Mutex
	ips, ports, failed := map[string]int{}, map[int32]int{}, 0
	for i := range 50 {
		wg.Go(func() {
			s := service(fmt.Sprintf("s%d", i), nodePort(0))
			err := c.Create(t.Context(), s)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed++
				return
			}
			ips[s.Spec.ClusterIP]++
			ports[s.Spec.Ports[0].NodePort]++
		})
	}
	wg.Wait()
	if len(ports) != 40 || len(ips) != 40 || failed != 10 {
		t.Errorf("%d ports, %d addresses, %d failures; want 40, 40, 10", len(ports), len(ips), failed)
	}
}

func TestRepairOfAddresses(t *testing.T) {
	ctx := t.Context()
	b := memory.New()
	defer func() { _ = b.Close() }()
	t.Run("before", func(t *testing.T) {
		create(t, storetest.New(t, storetest.WithBackend(b)).Client(storetest.Admin()), service("a", clusterIP("10.96.7.7")))
	})
	address := func(ip string) string { return registry.Prefix + "networking.k8s.io/ipaddresses/" + ip }
	leaked, err := b.Get(ctx, address("10.96.7.7"), 0)
	if err != nil || leaked == nil {
		t.Fatalf("the address of a service: %v, %v", leaked, err)
	}
	former := allocator.Prefix + "clusterips/10.96.7.7" // as Stores wrote that had no IPAddresses
	for _, op := range []backend.Op{
		{Type: backend.Delete, Key: address("10.96.7.7"), Expect: backend.Any},
		{Type: backend.Put, Key: address("10.96.8.8"), Value: bytes.ReplaceAll(leaked.Value, []byte("10.96.7.7"), []byte("10.96.8.8"))},
		{Type: backend.Put, Key: former, Value: []byte("default/a")},
	} {
		if _, err := b.Commit(ctx, op); err != nil {
			t.Fatal(err)
		}
	}
	c := storetest.New(t, storetest.WithBackend(b)).Client(storetest.Admin())
	if err := c.Create(ctx, service("b", clusterIP("10.96.7.7"))); !apierrors.IsInvalid(err) {
		t.Errorf("an address that a service has: %v", err)
	}
	var ip networkingv1.IPAddress
	if err := c.Get(ctx, "", "10.96.7.7", &ip); err != nil || servicecidr.Owner(&ip) != "default/a" {
		t.Errorf("it is taken again: %v, %+v", err, ip.Spec.ParentRef)
	}
	create(t, c, service("c", clusterIP("10.96.8.8")))
	if kv, err := b.Get(ctx, former, 0); err != nil || kv != nil {
		t.Errorf("what took it before: %v, %v", kv, err)
	}
}
