package localcluster

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The network of a cluster of several nodes: a bridge on the host with the
// first address of the node range, and per node a network namespace whose eth0
// is the other end of a port of the bridge. The host masquerades what leaves
// the node range.

func (s *State) bridgeName() string { return "nv" + s.ID }

func (s *State) tableName() string { return "navarch-" + s.ID + "-up" }

func (s *State) namespaceDir() string { return filepath.Join(runtimeDir, s.ID, "netns") }

func (s *State) namespacePath(node string) string { return filepath.Join(s.namespaceDir(), node) }

// portName is the host's end of a node's link.
func (s *State) portName(i int) string { return fmt.Sprintf("nv%sp%d", s.ID, i) }

// setUpNetwork makes what is missing of the nodes' networks.
func (s *State) setUpNetwork() error {
	if s.Nodes == 1 {
		return nil
	}
	bridge, err := s.ensureBridge()
	if err != nil {
		return err
	}
	for i, n := range s.nodes(netip.Addr{}) {
		if err := s.ensureNode(bridge, i+1, n); err != nil {
			return fmt.Errorf("set up the network of %s: %w", n.name, err)
		}
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return fmt.Errorf("allow forwarding: %w", err)
	}
	return s.masquerade()
}

func (s *State) ensureBridge() (netlink.Link, error) {
	if link, err := netlink.LinkByName(s.bridgeName()); err == nil {
		return link, nil
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = s.bridgeName()
	bridge := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(bridge); err != nil {
		return nil, fmt.Errorf("add the bridge %s: %w", attrs.Name, err)
	}
	address := &netlink.Addr{IPNet: ipNet(s.HostAddress(), s.NodeCIDR().Bits())}
	if err := netlink.AddrAdd(bridge, address); err != nil {
		return nil, fmt.Errorf("give the bridge %s its address: %w", attrs.Name, err)
	}
	if err := netlink.LinkSetUp(bridge); err != nil {
		return nil, fmt.Errorf("bring the bridge %s up: %w", attrs.Name, err)
	}
	return bridge, nil
}

// ensureNode makes a node's namespace and its link to the bridge.
func (s *State) ensureNode(bridge netlink.Link, i int, n node) error {
	handle, err := ensureNamespace(n.namespace)
	if err != nil {
		return err
	}
	defer func() { _ = handle.Close() }()
	inside, err := netlink.NewHandleAt(handle)
	if err != nil {
		return fmt.Errorf("enter the namespace: %w", err)
	}
	defer inside.Close()
	if _, err := inside.LinkByName("eth0"); err == nil {
		return nil
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = s.portName(i)
	attrs.MasterIndex = bridge.Attrs().Index
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(handle))}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("add the link %s: %w", attrs.Name, err)
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		return fmt.Errorf("bring the link %s up: %w", attrs.Name, err)
	}
	return s.configureNode(inside, n)
}

func (s *State) configureNode(inside *netlink.Handle, n node) error {
	for _, name := range []string{"lo", "eth0"} {
		link, err := inside.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find %s: %w", name, err)
		}
		if name == "eth0" {
			if err := inside.AddrAdd(link, &netlink.Addr{IPNet: ipNet(n.address, s.NodeCIDR().Bits())}); err != nil {
				return fmt.Errorf("give %s its address: %w", name, err)
			}
		}
		if err := inside.LinkSetUp(link); err != nil {
			return fmt.Errorf("bring %s up: %w", name, err)
		}
	}
	if err := inside.RouteAdd(&netlink.Route{Gw: s.HostAddress().AsSlice()}); err != nil {
		return fmt.Errorf("add the default route: %w", err)
	}
	return nil
}

// ensureNamespace returns the network namespace pinned at path, and makes it
// if there is none.
func ensureNamespace(path string) (netns.NsHandle, error) {
	if handle, err := netns.GetFromPath(path); err == nil {
		if isNamespace(path) {
			return handle, nil
		}
		_ = handle.Close()
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return 0, fmt.Errorf("create the namespaces' folder: %w", err)
	}
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		return 0, fmt.Errorf("create the namespace's file: %w", err)
	}
	made := make(chan error, 1)
	go func() {
		// The thread is left in the new namespace and so must end with this
		// goroutine: it is locked and never unlocked.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			made <- fmt.Errorf("make a network namespace: %w", err)
			return
		}
		if err := unix.Mount("/proc/thread-self/ns/net", path, "none", unix.MS_BIND, ""); err != nil {
			made <- fmt.Errorf("pin the network namespace at %s: %w", path, err)
			return
		}
		made <- nil
	}()
	if err := <-made; err != nil {
		return 0, err
	}
	return netns.GetFromPath(path)
}

func isNamespace(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}

// masquerade lets the nodes reach what the host reaches.
func (s *State) masquerade() error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: s.tableName()})
	conn.FlushTable(table)
	chain := conn.AddChain(&nftables.Chain{
		Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	source := matchPrefix(s.NodeCIDR(), ipv4SourceOffset, expr.CmpOpEq)
	destination := matchPrefix(s.NodeCIDR(), ipv4DestinationOffset, expr.CmpOpNeq)
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(append(source, destination...), &expr.Masq{})})
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("write the masquerading rule: %w", err)
	}
	return nil
}

const (
	ipv4SourceOffset      = 12
	ipv4DestinationOffset = 16
)

func matchPrefix(p netip.Prefix, offset uint32, op expr.CmpOp) []expr.Any {
	mask := net.CIDRMask(p.Bits(), 32)
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: binaryutil.NativeEndian.PutUint32(0)},
		&expr.Cmp{Op: op, Register: 1, Data: p.Addr().AsSlice()},
	}
}

// tearDownNetwork removes all that setUpNetwork made. What is gone already is
// no error.
func (s *State) tearDownNetwork() error {
	var errs []error
	entries, err := os.ReadDir(s.namespaceDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, e := range entries {
		path := filepath.Join(s.namespaceDir(), e.Name())
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("unpin the namespace %s: %w", path, err))
		}
	}
	for i := 1; i <= s.Nodes; i++ {
		errs = append(errs, deleteLink(s.portName(i)))
	}
	errs = append(errs, deleteLink(s.bridgeName()), s.deleteTable(), os.RemoveAll(filepath.Join(runtimeDir, s.ID)))
	return errors.Join(errs...)
}

func deleteLink(name string) error {
	link, err := netlink.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find the link %s: %w", name, err)
	}
	// A namespace that is just being freed may take its end of the link first.
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete the link %s: %w", name, err)
	}
	return nil
}

func (s *State) deleteTable() error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return fmt.Errorf("list the nftables tables: %w", err)
	}
	for _, t := range tables {
		if t.Name == s.tableName() {
			conn.DelTable(t)
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("delete the nftables table %s: %w", s.tableName(), err)
	}
	return nil
}

func ipNet(a netip.Addr, bits int) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, a.BitLen())}
}

// hostAddress returns the address by which the host is a node: the source of
// its default route, else its first global address, else loopback.
func hostAddress() (netip.Addr, error) {
	routes, err := netlink.RouteList(nil, unix.AF_INET)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("list the host's routes: %w", err)
	}
	for _, r := range routes {
		if isDefault(r) {
			if a, ok := linkAddress(r.LinkIndex); ok {
				return a, nil
			}
		}
	}
	links, err := netlink.LinkList()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("list the host's links: %w", err)
	}
	for _, l := range links {
		if a, ok := linkAddress(l.Attrs().Index); ok {
			return a, nil
		}
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
}

func isDefault(r netlink.Route) bool {
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0
}

func linkAddress(index int) (netip.Addr, bool) {
	link, err := netlink.LinkByIndex(index)
	if err != nil {
		return netip.Addr{}, false
	}
	addresses, err := netlink.AddrList(link, unix.AF_INET)
	if err != nil {
		return netip.Addr{}, false
	}
	for _, a := range addresses {
		if ip, ok := netip.AddrFromSlice(a.IP.To4()); ok && ip.IsGlobalUnicast() {
			return ip, true
		}
	}
	return netip.Addr{}, false
}
