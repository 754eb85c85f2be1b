package network

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// insideVar says that the test process has namespaces of its own.
const insideVar = "NAVARCH_TEST_OWN_NAMESPACES"

// TestMain runs the tests again in a network and a mount namespace of their
// own: they change links, routes, tables and mounts.
func TestMain(m *testing.M) {
	if os.Getenv(insideVar) != "" || os.Getuid() != 0 {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideVar+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Unshareflags: syscall.CLONE_NEWNS}
	if err := cmd.Run(); err != nil {
		os.Exit(1)
	}
}

// newNetwork returns a network of a node with the address 198.51.100.1/24 on
// the link "up0".
func newNetwork(t *testing.T) *Network {
	t.Helper()
	bin := filepath.Join(os.Getenv("NAVARCH_BIN_DIR"), "cni")
	if os.Getuid() != 0 || os.Getenv("NAVARCH_BIN_DIR") == "" {
		t.Skip("needs root, and the CNI plugins in NAVARCH_BIN_DIR/cni")
	}
	addLink(t, "up0", "up1", "198.51.100.1/24")
	n, err := New(Config{
		ClusterID: "test", NodeName: "n1", StateDir: t.TempDir(), BinDir: bin,
		ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("10.96.0.0/16")},
		NodeIP:       netip.MustParseAddr("198.51.100.1"), VXLANPort: 8472,
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Purge(context.Background(), n.cfg, n.log); err != nil {
			t.Errorf("purge: %v", err)
		}
	})
	return n
}

func addLink(t *testing.T, name, peer, address string) {
	t.Helper()
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: 1500}, PeerName: peer}
	if err := netlink.LinkAdd(link); err != nil {
		t.Fatalf("add a link: %v", err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(link) })
	addr, err := netlink.ParseAddr(address)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrAdd(link, addr); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{name, peer, "lo"} {
		l, err := netlink.LinkByName(n)
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetUp(l); err != nil {
			t.Fatal(err)
		}
	}
}

// serve answers connections in a network namespace with the caller's address,
// until the test ends.
func serve(t *testing.T, netns string, port int) {
	t.Helper()
	var l net.Listener
	err := InNetNS(netns, func() (err error) {
		l, err = net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", port))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, c.RemoteAddr().(*net.TCPAddr).IP)
			_ = c.Close()
		}
	}()
}

// ask connects from a network namespace and returns the answer.
func ask(t *testing.T, netns, to string) string {
	t.Helper()
	var out string
	dial := func() error {
		c, err := net.Dial("tcp4", to)
		if err != nil {
			return err
		}
		defer c.Close()
		b := make([]byte, 64)
		n, err := c.Read(b)
		out = string(b[:n])
		return err
	}
	var err error
	if netns == "" {
		err = dial()
	} else {
		err = InNetNS(netns, dial)
	}
	if err != nil {
		t.Fatalf("connect to %s: %v", to, err)
	}
	return out
}

func TestPodsReachEachOther(t *testing.T) {
	n := newNetwork(t)
	ctx := t.Context()
	if err := n.SetPodCIDRs(ctx, []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}); err != nil {
		t.Fatal(err)
	}
	<-n.Ready()
	web, err := n.Attach(ctx, PodRef{"default", "web", "uid-web"}, []HostPort{{HostPort: 8080, ContainerPort: 80}})
	if err != nil {
		t.Fatal(err)
	}
	user, err := n.Attach(ctx, PodRef{"default", "user", "uid-user"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := n.Attach(ctx, PodRef{"default", "user", "uid-user"}, nil); err != nil || again.IPs[0] != user.IPs[0] {
		t.Errorf("attached again: %v, %v", again, err)
	}
	serve(t, web.NetNS, 80)
	if got := ask(t, user.NetNS, web.IPs[0].String()+":80"); got != user.IPs[0].String() {
		t.Errorf("pod to pod: the source is %s, want %s", got, user.IPs[0])
	}
	ask(t, "", web.IPs[0].String()+":80") // the node reaches its pods
	ask(t, user.NetNS, "198.51.100.1:8080")
	ask(t, web.NetNS, "198.51.100.1:8080") // hairpin
	if err := n.Detach(ctx, PodRef{"default", "web", "uid-web"}); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := n.Attachment("uid-web"); ok || err != nil {
		t.Errorf("still attached: %v, %v", ok, err)
	}
	if err := n.Detach(ctx, PodRef{"default", "web", "uid-web"}); err != nil {
		t.Errorf("detach what is gone: %v", err)
	}
}

func TestMasqueradesOnlyWhatLeaves(t *testing.T) {
	n := newNetwork(t)
	ctx := t.Context()
	if err := n.SetPodCIDRs(ctx, []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}); err != nil {
		t.Fatal(err)
	}
	pod, err := n.Attach(ctx, PodRef{"default", "user", "uid-user"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	// The world is a namespace at the other end of up0.
	world := filepath.Join(t.TempDir(), "world")
	if err := makeNetNS(world); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = removeNetNS(world) })
	f, err := os.Open(world)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	peer, err := netlink.LinkByName("up1")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetNsFd(peer, int(f.Fd())); err != nil {
		t.Fatal(err)
	}
	err = InNetNS(world, func() error {
		for _, a := range []string{"198.51.100.2/24", "10.244.9.1/32"} {
			addr, _ := netlink.ParseAddr(a)
			if err := netlink.AddrAdd(peer, addr); err != nil {
				return err
			}
		}
		if err := netlink.LinkSetUp(peer); err != nil {
			return err
		}
		_, dst, _ := net.ParseCIDR("10.244.1.0/24")
		return netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: net.ParseIP("198.51.100.1")})
	})
	if err != nil {
		t.Fatal(err)
	}
	serve(t, world, 80)
	if got := ask(t, pod.NetNS, "198.51.100.2:80"); got != "198.51.100.1" {
		t.Errorf("to the world: the source is %s, want the node", got)
	}
	peers := []Peer{{Name: "n2", Addr: netip.MustParseAddr("198.51.100.2"), PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.9.0/24")}}}
	if err := n.SyncRoutes(ctx, peers); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, pod.NetNS, "10.244.9.1:80"); got != pod.IPs[0].String() {
		t.Errorf("to another node's pod: the source is %s, want %s", got, pod.IPs[0])
	}
	if err := n.SyncRoutes(ctx, nil); err != nil {
		t.Fatal(err)
	}
	if routes := ownRoutes(t); len(routes) != 0 {
		t.Errorf("routes of nodes that are gone: %v", routes)
	}
}

func ownRoutes(t *testing.T) []netlink.Route {
	t.Helper()
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		t.Fatal(err)
	}
	return routes
}

func TestTunnelsToNodesBehindARouter(t *testing.T) {
	n := newNetwork(t)
	_, all, _ := net.ParseCIDR("0.0.0.0/0")
	if err := netlink.RouteAdd(&netlink.Route{Dst: all, Gw: net.ParseIP("198.51.100.254")}); err != nil {
		t.Fatal(err)
	}
	cidr := netip.MustParsePrefix("10.244.7.0/24")
	far := []Peer{{Name: "n7", Addr: netip.MustParseAddr("203.0.113.7"), PodCIDRs: []netip.Prefix{cidr}}}
	for range 2 { // it is idempotent
		if err := n.SyncRoutes(t.Context(), far); err != nil {
			t.Fatal(err)
		}
	}
	link, err := netlink.LinkByName(n.cfg.vxlanName())
	if err != nil {
		t.Fatalf("no tunnel device: %v", err)
	}
	if routes := ownRoutes(t); len(routes) != 1 || routes[0].LinkIndex != link.Attrs().Index {
		t.Errorf("routes = %v", routes)
	}
	fdb, err := netlink.NeighList(link.Attrs().Index, unix.AF_BRIDGE)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, e := range fdb {
		found = found || e.IP.Equal(far[0].Addr.AsSlice()) && e.HardwareAddr.String() == n.tunnelMAC("n7").String()
	}
	if !found {
		t.Errorf("forwarding entries = %v", fdb)
	}
	if err := n.SyncRoutes(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := netlink.LinkByName(n.cfg.vxlanName()); err == nil {
		t.Error("the tunnel device is still there")
	}
}

func TestSurvivesARestartAndFreesLeaks(t *testing.T) {
	n := newNetwork(t)
	ctx := t.Context()
	cidrs := []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}
	if err := n.SetPodCIDRs(ctx, cidrs); err != nil {
		t.Fatal(err)
	}
	kept, err := n.Attach(ctx, PodRef{"default", "kept", "uid-kept"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	lost, err := n.Attach(ctx, PodRef{"default", "lost", "uid-lost"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	// The agent died before it recorded the pod, and its namespace went as well.
	if err := removeNetNS(lost.NetNS); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(n.recordPath("uid-lost")); err != nil {
		t.Fatal(err)
	}
	again, err := New(n.cfg, n.log)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.CollectGarbage(ctx, func(uid string) bool { return uid == "uid-kept" }); err != nil {
		t.Fatal(err)
	}
	if a, ok, err := again.Attachment("uid-kept"); err != nil || !ok || a.IPs[0] != kept.IPs[0] {
		t.Errorf("the kept pod: %v, %v, %v", a, ok, err)
	}
	if uids, err := again.known(); err != nil || len(uids) != 1 {
		t.Errorf("pods = %v, %v; want just the kept one", uids, err)
	}
	if err := again.SetPodCIDRs(ctx, cidrs); err != nil {
		t.Fatal(err)
	}
	next, err := again.Attach(ctx, PodRef{"default", "next", "uid-next"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if next.IPs[0] != lost.IPs[0] {
		t.Errorf("the next pod has %s, want %s, which was lost", next.IPs[0], lost.IPs[0])
	}
}

func TestPurgeLeavesNothing(t *testing.T) {
	n := newNetwork(t)
	ctx := t.Context()
	if err := n.SetPodCIDRs(ctx, []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Attach(ctx, PodRef{"default", "web", "uid-web"}, []HostPort{{HostPort: 81, ContainerPort: 80}}); err != nil {
		t.Fatal(err)
	}
	if err := Purge(ctx, n.cfg, n.log); err != nil {
		t.Fatal(err)
	}
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if name := l.Attrs().Name; strings.HasPrefix(name, "n") || strings.HasPrefix(name, "veth") {
			t.Errorf("the link %s is left", name)
		}
	}
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	tables, err := c.ListTables()
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		t.Errorf("the table %s is left", table.Name)
	}
	if _, err := os.Stat(n.cfg.StateDir); !os.IsNotExist(err) {
		t.Errorf("the state folder is left: %v", err)
	}
}
