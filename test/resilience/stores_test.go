package resilience_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/agent/node"
	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/fencing"
	"navarch.dev/navarch/internal/rpc"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/internal/testcluster"
)

// fencePromise is how long pods of the test's nodes run on without a renewal.
const fencePromise = 5 * time.Second

// stores are processes that share an etcd: Stores and a Controller.
type stores struct {
	dir, etcd string
	addresses []string
	processes map[string]*exec.Cmd
}

// startStores starts two Stores on an etcd, and a Controller. Nodes of the names
// have certificates.
func startStores(t *testing.T, etcd string, names ...string) *stores {
	t.Helper()
	s := newStores(t, names...)
	s.etcd = etcd
	for i := range 2 {
		s.addresses = append(s.addresses, unusedAddress(t))
		s.startStore(t, i)
	}
	// A Controller that begins before it may have its Lease waits for seconds.
	controller := client.New(s.dial(t, "controller", s.addresses), "test")
	testcluster.Eventually(t, "the Stores serve", func() error {
		if err := controller.Get(t.Context(), "kube-system", "navarch-controller", &coordinationv1.Lease{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the Controller's Lease is told with: %w", err)
		}
		return nil
	})
	s.start(t, "controller", "controller", "--store", strings.Join(s.addresses, ","), "--fast-failover", "--listen", unusedAddress(t))
	return s
}

// newStores makes certificates, for nodes of the names too, and starts nothing.
func newStores(t *testing.T, names ...string) *stores {
	t.Helper()
	s := &stores{dir: t.TempDir(), processes: make(map[string]*exec.Cmd)}
	args := []string{"certs", "--dir", s.dir}
	for _, name := range names {
		args = append(args, "--node", name+"=127.0.0.1")
	}
	if out, err := exec.CommandContext(t.Context(), testcluster.Binary("navarch"), args...).CombinedOutput(); err != nil {
		t.Fatalf("make certificates: %v\n%s", err, out)
	}
	return s
}

func (s *stores) startStore(t *testing.T, i int) {
	s.start(t, fmt.Sprint("store ", i), "store", "--etcd-endpoints", s.etcd, "--listen", s.addresses[i],
		"--service-account-key-file", filepath.Join(s.dir, "service-account.key"))
}

// start starts a service with its certificate, until the test ends.
func (s *stores) start(t *testing.T, name, service string, args ...string) {
	t.Helper()
	file := filepath.Join(s.dir, service)
	s.run(t, name, append([]string{service, "--ca-file", filepath.Join(s.dir, "ca.crt"), "--cert-file", file + ".crt", "--key-file", file + ".key"}, args...)...)
}

// run runs navarch until the test ends.
func (s *stores) run(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(testcluster.Binary("navarch"), args...)
	log := &strings.Builder{}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.processes[name] = cmd
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("--- %s\n%s", name, log)
		}
	})
}

func (s *stores) signal(t *testing.T, name string, sig syscall.Signal) {
	t.Helper()
	if err := s.processes[name].Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// dial connects to addresses as who has a certificate.
func (s *stores) dial(t *testing.T, certificate string, addresses []string, options ...grpc.DialOption) *rpc.SwitchableConn {
	t.Helper()
	bundle, err := certs.LoadBundleDir(s.dir, certificate)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := rpc.DialSwitchable(telemetry.Discard("test"), strings.Join(addresses, ","), bundle.Client(certs.ServerName("store")), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func startEtcd(t *testing.T) string {
	t.Helper()
	e, err := embed.StartEtcd(etcdConfig(filepath.Join(t.TempDir(), "etcd"), unusedAddress(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	<-e.Server.ReadyNotify()
	return "http://" + e.Clients[0].Addr().String()
}

// etcdConfig is that of an etcd of one member, which speaks to clients only.
func etcdConfig(dir, address string) *embed.Config {
	config := embed.NewConfig()
	config.Dir = dir
	at, nowhere := url.URL{Scheme: "http", Host: address}, url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	config.ListenPeerUrls, config.AdvertisePeerUrls = nil, []url.URL{nowhere}
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{at}, []url.URL{at}
	config.InitialCluster = config.Name + "=" + nowhere.String()
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	return config
}

func unusedAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// fencedNode is a node whose agent promises to stop its pods. It takes nothing
// back that the controllers say of it.
type fencedNode struct {
	name    string
	start   time.Time
	renewed atomic.Int64 // the fence's word
}

func (s *stores) startNode(t *testing.T, name string, addresses []string) *fencedNode {
	t.Helper()
	f := &fencedNode{name: name, start: time.Now()}
	conn := s.dial(t, "agent-"+name, addresses, rpc.WithDeadline(fencePromise*3/10))
	n, err := node.New(node.Config{
		Name: name, OtherStore: conn.Switch, Machine: &node.Machine{},
		Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}},
		Fencing: node.Fencing{
			Promise: fencePromise, Now: func() time.Duration { return time.Since(f.start) },
			Begun: func() bool { return f.renewed.Load() > 0 }, Fenced: func() bool { return true },
			Renew: func(at time.Duration) { f.renewed.Store(int64(at)) }, Lift: func() {},
			Condemn: func(context.Context, time.Duration) error {
				t.Errorf("node %s was taken for lost", name)
				return nil
			},
		},
	}, client.New(conn, "agent"), telemetry.Discard("agent").Log, func() []corev1.ContainerImage { return nil }, func() (bool, string) { return true, "" })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); wg.Wait() })
	if _, err := n.Register(ctx); err != nil {
		t.Fatal(err)
	}
	wg.Go(func() { _ = n.Run(ctx) })
	return f
}

// left is how long pods run on without a renewal.
func (f *fencedNode) left() time.Duration {
	return time.Duration(f.renewed.Load()) + fencePromise - time.Since(f.start)
}

// link is what a node's connections to a Store go through, until it is cut:
// then nothing comes through, and nobody is told.
type link struct {
	listener net.Listener
	cut      atomic.Bool
}

func newLink(t *testing.T, to string) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	l := &link{listener: listener}
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				_ = near.Close()
				continue
			}
			go l.pass(near, far)
			go l.pass(far, near)
		}
	}()
	return l
}

// startNodeApart starts a node that can be cut off.
func (s *stores) startNodeApart(t *testing.T, name string) (n *fencedNode, cut func()) {
	t.Helper()
	var links []*link
	var through []string
	for _, address := range s.addresses {
		l := newLink(t, address)
		links, through = append(links, l), append(through, l.listener.Addr().String())
	}
	return s.startNode(t, name, through), func() {
		for _, l := range links {
			l.cut.Store(true)
		}
	}
}

func (l *link) pass(from, to net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		switch {
		case l.cut.Load() && err == nil:
		case l.cut.Load():
			return // the other end is not told
		case err != nil:
			_ = to.Close()
			return
		default:
			_, _ = to.Write(buf[:n]) // a failure is read soon
		}
	}
}

// TestSeveralStores kills a Store and has another hang, at which the nodes and the
// controllers are. No node that reaches another Store is taken for silent, nor
// has its pods stopped; one that is cut off is found out all the same.
func TestSeveralStores(t *testing.T) {
	s := startStores(t, startEtcd(t), "stays", "goes", "follows")
	stays := s.startNode(t, "stays", s.addresses)
	goes, cutGoes := s.startNodeApart(t, "goes")
	follows, cutFollows := s.startNodeApart(t, "follows")
	store := client.New(s.dial(t, "admin", s.addresses[1:]), "test") // the one that is not killed
	ready := func(f *fencedNode) (corev1.ConditionStatus, error) {
		n := &corev1.Node{}
		if err := store.Get(t.Context(), "", f.name, n); err != nil {
			return "", err
		}
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady {
				return c.Status, nil
			}
		}
		return "", nil
	}
	is := func(f *fencedNode, want corev1.ConditionStatus) error {
		status, err := ready(f)
		if err == nil && status != want {
			err = fmt.Errorf("node %s is Ready=%s, not %s", f.name, status, want)
		}
		return err
	}
	judged := func(f *fencedNode) bool { // the controllers take the taint of new nodes off
		n := &corev1.Node{}
		return store.Get(t.Context(), "", f.name, n) == nil && len(n.Spec.Taints) == 0
	}
	// steady fails the test if a node is not what it was.
	steady := func(f *fencedNode) {
		t.Helper()
		if left := f.left(); left <= fencePromise/5 {
			t.Fatalf("node %s stops its pods", f.name)
		}
		if status, err := ready(f); err == nil && status != corev1.ConditionTrue {
			t.Fatalf("node %s, which lives, is Ready=%s", f.name, status)
		}
	}
	// renewedAfter waits until a node has renewed its Lease so long after a time
	// that it would have been found out.
	renewedAfter := func(f *fencedNode, begun time.Time) {
		t.Helper()
		testcluster.Eventually(t, "node "+f.name+" lives on", func() error {
			steady(f)
			if last := f.start.Add(time.Duration(f.renewed.Load())); last.Sub(begun) < fencePromise*6/5 {
				return fmt.Errorf("its last renewal was %v after", last.Sub(begun))
			}
			return nil
		})
	}
	// foundOut waits until a node that was cut off is taken for silent, while
	// others live.
	foundOut := func(f *fencedNode, begun time.Time, others ...*fencedNode) {
		t.Helper()
		testcluster.Eventually(t, "node "+f.name+", which is cut off, is taken for silent", func() error {
			for _, other := range others {
				steady(other)
			}
			return is(f, corev1.ConditionUnknown)
		})
		t.Logf("%s was found out after %v, when its pods had %v left", f.name, time.Since(begun), f.left())
	}
	testcluster.Eventually(t, "the nodes are ready and promise", func() error {
		for _, f := range []*fencedNode{stays, goes, follows} {
			if err := is(f, corev1.ConditionTrue); err != nil {
				return err
			}
			lease := &coordinationv1.Lease{}
			if err := store.Get(t.Context(), corev1.NamespaceNodeLease, f.name, lease); err != nil {
				return err
			}
			if _, ok := fencing.Promise(lease); !ok || !judged(f) {
				return fmt.Errorf("node %s promises nothing, or is not known to do so: %v", f.name, lease.Annotations)
			}
		}
		return nil
	})

	begun := time.Now()
	s.signal(t, "store 0", syscall.SIGKILL)
	cutGoes()
	foundOut(goes, begun, stays, follows)
	renewedAfter(stays, begun)

	_ = s.processes["store 0"].Wait()
	s.startStore(t, 0)
	store = client.New(s.dial(t, "admin", s.addresses[:1]), "test")
	testcluster.Eventually(t, "the Store serves again", func() error { _, err := ready(stays); return err })
	begun = time.Now()
	s.signal(t, "store 1", syscall.SIGSTOP)
	cutFollows()
	foundOut(follows, begun, stays)
	renewedAfter(stays, begun)
	s.signal(t, "store 1", syscall.SIGCONT)
}
