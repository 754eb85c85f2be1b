package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/rpc"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/store/auth"
	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/backend/etcd"
	"navarch.dev/navarch/services/store/backend/memory"
	"navarch.dev/navarch/services/store/storetest"
)

// The benchmarks below are to be compared: creates through the whole Store, by
// 32 clients each, against bare etcd transactions of the same size on the same
// embedded etcd.
const benchClients = 32

func benchData() map[string]string { return map[string]string{"data": strings.Repeat("x", 1000)} }

// BenchmarkCreate makes function calls into a Store that lets everybody in.
func BenchmarkCreate(b *testing.B) {
	s := storetest.New(b, storetest.WithBackend(benchBackend(b)))
	createInParallel(b, func() grpc.ClientConnInterface { return s.Conn(storetest.Admin()) })
}

// BenchmarkCreateByUsers is BenchmarkCreate for what comes through a gateway:
// the fields of such objects are tracked.
func BenchmarkCreateByUsers(b *testing.B) {
	s := storetest.New(b, storetest.WithBackend(benchBackend(b)))
	createInParallel(b, func() grpc.ClientConnInterface { return s.Conn(identity.Service(identity.Gateway)) })
}

// BenchmarkCreateUnderQuota is the same where a quota is charged for each
// object, one after another.
func BenchmarkCreateUnderQuota(b *testing.B) {
	s := storetest.New(b, storetest.WithBackend(benchBackend(b)))
	c := s.Client(storetest.Admin())
	q := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "q"},
		Spec:       corev1.ResourceQuotaSpec{Hard: amounts("count/configmaps", "1G")},
	}
	if err := c.Create(b.Context(), q); err != nil {
		b.Fatal(err)
	}
	q.Status = corev1.ResourceQuotaStatus{Hard: q.Spec.Hard, Used: amounts("count/configmaps", "0")}
	if err := c.UpdateStatus(b.Context(), q); err != nil {
		b.Fatal(err)
	}
	createInParallel(b, func() grpc.ClientConnInterface { return s.Conn(storetest.Admin()) })
}

// BenchmarkCreatePodUnderQuota has one client create pods that a quota is charged
// for, beside few and many others in the namespace: that must not matter.
func BenchmarkCreatePodUnderQuota(b *testing.B) {
	for _, others := range []int{10, 10_000} {
		b.Run(fmt.Sprintf("beside %d", others), func(b *testing.B) {
			shared := memory.New()
			b.Cleanup(func() { _ = shared.Close() })
			c := storetest.New(b, storetest.WithBackend(shared)).Client(storetest.Admin())
			next := func(name string) *corev1.Pod {
				p := pod(name)
				p.Spec.Containers[0].Resources.Requests = amounts("cpu", "10m", "memory", "1Mi")
				return p
			}
			for n := range others {
				if err := c.Create(b.Context(), next(fmt.Sprint("before-", n))); err != nil {
					b.Fatal(err)
				}
			}
			limited(b, c, amounts("pods", "1G", "requests.cpu", "1G", "requests.memory", "1Ei", "count/pods", "1G"))
			b.ResetTimer()
			for n := range b.N {
				if err := c.Create(b.Context(), next(fmt.Sprint("p-", n))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// limited creates a quota of which nothing is used.
func limited(b *testing.B, c *client.Client, hard corev1.ResourceList) {
	b.Helper()
	q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: hard}}
	if err := c.Create(b.Context(), q); err != nil {
		b.Fatal(err)
	}
	q.Status = corev1.ResourceQuotaStatus{Hard: hard, Used: corev1.ResourceList{}}
	for name := range hard {
		q.Status.Used[name] = resource.MustParse("0")
	}
	if err := c.UpdateStatus(b.Context(), q); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkCreateClaimUnderQuota has the claim for a pod's extended resources created
// that a quota counts, beside few and many others in the namespace.
func BenchmarkCreateClaimUnderQuota(b *testing.B) {
	for _, others := range []int{10, 10_000} {
		b.Run(fmt.Sprintf("beside %d", others), func(b *testing.B) {
			shared := memory.New()
			b.Cleanup(func() { _ = shared.Close() })
			c := storetest.New(b, storetest.WithBackend(shared)).Client(storetest.Admin())
			add := func(obj kinds.Object) {
				b.Helper()
				if err := c.Create(b.Context(), obj); err != nil {
					b.Fatal(err)
				}
			}
			add(&resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "fast"}, Spec: resourcev1.DeviceClassSpec{ExtendedResourceName: ptr.To("example.com/gpu")}})
			for n := range others {
				add(gpuClaim(fmt.Sprint("before-", n), 1))
			}
			limited(b, c, amounts("requests.example.com/gpu", "1G"))
			owners := make([]*corev1.Pod, b.N)
			for n := range owners {
				owners[n] = gpuPod(fmt.Sprint("p-", n))
				add(owners[n])
			}
			b.ResetTimer()
			for n, owner := range owners {
				add(madeFor(owner, gpuClaim(fmt.Sprint("c-", n), 1)))
			}
		})
	}
}

// BenchmarkCreateOverNetwork is what users get: mutual TLS, one connection per
// client, an ordinary user whom RBAC lets in.
func BenchmarkCreateOverNetwork(b *testing.B) {
	user := identity.Identity{Name: "jane", Groups: []string{identity.GroupAuthenticated}}
	s := storetest.New(b, storetest.WithBackend(benchBackend(b)), storetest.WithControl(auth.New(auth.DefaultConfig())),
		storetest.WithSeed(append(auth.Bootstrap(), editorBinding(user.Name))...))
	dial := overNetwork(b, s, user)
	createInParallel(b, dial)
}

// BenchmarkBareTxn is the reference.
func BenchmarkBareTxn(b *testing.B) {
	etcd := benchBackend(b)
	value := []byte(strings.Repeat("x", 1250))
	b.ResetTimer()
	inParallel(b, func(_, n int) error {
		_, err := etcd.Commit(b.Context(), backend.Op{Type: backend.Put, Key: fmt.Sprintf("/bench/c%d", n), Value: value})
		return err
	})
}

func benchBackend(b *testing.B) backend.Backend {
	opened := openEtcd(b)
	b.Cleanup(func() { _ = opened.Close() })
	return opened
}

func openEtcd(t testing.TB) backend.Backend {
	t.Helper()
	cfg := etcd.DefaultConfig()
	cfg.Dir = t.TempDir()
	b, err := etcd.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func editorBinding(user string) kinds.Object {
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "editor"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}
}

// overNetwork serves a Store on loopback and returns what opens connections to
// it by id.
func overNetwork(b *testing.B, s *storetest.Store, id identity.Identity) func() grpc.ClientConnInterface {
	b.Helper()
	authority, err := certs.LoadOrCreate(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	bundle := func(r certs.Request) *certs.Bundle {
		pair, err := authority.Issue(r)
		if err != nil {
			b.Fatal(err)
		}
		out, err := authority.Bundle(pair)
		if err != nil {
			b.Fatal(err)
		}
		return out
	}
	serving := bundle(certs.Request{Identity: identity.Service(identity.Store), DNSNames: []string{certs.ServerName("store")}})
	calling := bundle(certs.Request{Identity: id})
	server := rpc.NewServer(telemetry.Discard("store"), rpc.ServerOptions{TLS: serving.Server()})
	s.Register(server)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := server.Serve(ctx, listener); err != nil {
			b.Error(err)
		}
	})
	b.Cleanup(func() { cancel(); wg.Wait() })
	return func() grpc.ClientConnInterface {
		conn, err := rpc.Dial(telemetry.Discard("bench"), listener.Addr().String(), calling.Client(certs.ServerName("store")))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = conn.Close() })
		return conn
	}
}

// createInParallel has every client create ConfigMaps on a connection of its
// own.
func createInParallel(b *testing.B, dial func() grpc.ClientConnInterface) {
	b.Helper()
	clients := make([]*client.Client, benchClients)
	for i := range clients {
		clients[i] = client.New(dial(), "bench")
		// The first create opens the connection.
		if err := clients[i].Create(b.Context(), configMap(fmt.Sprintf("first%d", i), nil)); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	inParallel(b, func(worker, n int) error {
		return clients[worker].Create(b.Context(), configMap(fmt.Sprintf("c%d", n), benchData()))
	})
	b.StopTimer()
}

// inParallel shares b.N calls among the workers.
func inParallel(b *testing.B, call func(worker, n int) error) {
	b.Helper()
	began := processorTime(b)
	var next atomic.Int64
	var wg sync.WaitGroup
	for worker := range benchClients {
		wg.Go(func() {
			for n := int(next.Add(1)); n <= b.N; n = int(next.Add(1)) {
				if err := call(worker, n); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64((processorTime(b)-began).Microseconds())/float64(b.N), "cpu-µs/op")
}

// processorTime is what this process, the clients included, has used: on a
// machine that is busy otherwise it says more than the clock.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
