// Package nftables keeps a node's routing of Services in the kernel: one
// nftables table, programmed over netlink.
//
// The table (of family ip) is made of a fixed part and of what Services add:
//
//	chain prerouting   nat     jump services                  packets that arrive
//	chain output       nat     jump services                  packets of this node's own processes
//	chain postrouting  nat     masquerade what was marked, and backends that reach themselves
//	chain guard        filter  drop packets from outside to 127.0.0.0/8
//	chain forwarded    filter  drop packets to cluster addresses that were not translated
//	chain sent         filter  the same for this node's own processes
//	chain services             look the destination up in the maps below
//	chain nodeports            the same for ports on the node's own addresses
//	chain reject               answer with a TCP reset or an ICMP port unreachable
//
//	map targets                address . protocol . port → verdict
//	map inside                 the same, asked first for clients in the cluster
//	set masquerade             the frontends whose clients are to be hidden
//	set hairpins               address . address of each backend on this node
//
//	chain GROUP                for each group of backends: pick one, DNAT to it
//	map GROUP                  number → address . port of its backends
//	map affinity/GROUP         client → its backend, forgotten after a while
//
// A connection's first packet costs the same few look-ups however many
// Services there are; the packets that follow are handled by conntrack.
//
// Node ports are in the maps under the address 0.0.0.0.
package nftables

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	nf "github.com/google/nftables"
	"github.com/mdlayher/netlink"

	"navarch.dev/navarch/services/proxy/routes"
)

// Options say where and how a Table is kept.
type Options struct {
	// Name is the table's name, unique in its network namespace.
	Name string
	// NetNS is the descriptor of the network namespace; 0 is the process's own.
	NetNS int
	// PodCIDR holds the addresses of all pods. Clients beyond it are hidden
	// behind the node when they use a cluster address. Invalid: nobody is.
	PodCIDR netip.Prefix
	// ServiceCIDRs hold the cluster addresses, and do not overlap. What no Service
	// has is rejected.
	ServiceCIDRs []netip.Prefix
	// HideBridgedPods is for kernels that do not show netfilter what bridges
	// carry: pods on one bridge are hidden from each other when they talk
	// through a Service, so that answers come back the same way.
	HideBridgedPods bool
	// MasqueradeMark is the bit of the packet mark that says 'masquerade'.
	MasqueradeMark uint32
	// LocalhostNodePorts makes node ports answer on 127.0.0.1 too.
	LocalhostNodePorts bool
	// Note, if any, is kept with the table, as the name of an empty chain, for
	// whoever deletes it: it outlives the process.
	Note string
}

// Table is the kernel's table. It is for one goroutine at a time.
type Table struct {
	opts  Options
	table *nf.Table

	targets, inside, masquerade, hairpins *nf.Set

	// current is what the kernel holds; nil if that is not known.
	current *routes.State
	// lastSetID numbers the sets of one transaction.
	lastSetID uint32
}

// affinityPrefix precedes a group's name in the name of its affinity map.
const affinityPrefix = "affinity/"

// New returns the table with these options. It does not touch the kernel.
func New(opts Options) *Table {
	t := &Table{opts: opts, table: &nf.Table{Name: opts.Name, Family: nf.TableFamilyIPv4}}
	t.targets = t.newSet(nf.Set{Name: "targets", IsMap: true, KeyType: frontendType(), DataType: nf.TypeVerdict})
	t.inside = t.newSet(nf.Set{Name: "inside", IsMap: true, KeyType: frontendType(), DataType: nf.TypeVerdict})
	t.masquerade = t.newSet(nf.Set{Name: "masquerade", KeyType: frontendType()})
	t.hairpins = t.newSet(nf.Set{Name: "hairpins", KeyType: nf.MustConcatSetType(nf.TypeIPAddr, nf.TypeIPAddr)})
	return t
}

// Apply makes the kernel route as state says, in one transaction: no connection
// is routed by a part of it. Only what changed is sent; the first time, and after a
// failure, the whole table is replaced. state must not be changed afterwards.
func (t *Table) Apply(state *routes.State) error {
	conn, err := t.open()
	if err != nil {
		return err
	}
	tx := &transaction{conn: conn, table: t}
	if t.current == nil {
		err = tx.replaceTable(state)
	} else {
		err = tx.change(t.current, state)
	}
	if err == nil {
		err = conn.Flush()
	}
	if err != nil {
		t.current = nil
		return fmt.Errorf("program nftables table %s: %w", t.opts.Name, err)
	}
	t.current = state
	return nil
}

// Current says whether the kernel is known to hold what was applied last.
func (t *Table) Current() bool { return t.current != nil }

// Forget makes the next Apply replace the whole table.
func (t *Table) Forget() { t.current = nil }

// SetServices replaces Options.ServiceCIDRs from the next Apply on.
func (t *Table) SetServices(prefixes []netip.Prefix) {
	t.opts.ServiceCIDRs = prefixes
	t.Forget()
}

// Exists says whether the kernel has the table.
func (t *Table) Exists() (bool, error) {
	names, err := Names(t.opts.NetNS)
	return slices.Contains(names, t.opts.Name), err
}

// Delete removes the table from the kernel, if it is there.
func (t *Table) Delete() error {
	t.current = nil
	conn, err := t.open()
	if err != nil {
		return err
	}
	conn.DelTable(t.table)
	if err := conn.Flush(); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("delete nftables table %s: %w", t.opts.Name, err)
	}
	return nil
}

// open returns a connection for one exchange with the kernel. A transaction is
// one message to the kernel, and every command in it is acknowledged before
// the first acknowledgement is read: both buffers must hold a whole table.
func (t *Table) open() (*nf.Conn, error) {
	const buffer, patience = 256 << 20, 30 * time.Second
	conn, err := nf.New(nf.WithNetNSFd(t.opts.NetNS), nf.WithSockOptions(func(c *netlink.Conn) error {
		return errors.Join(c.SetReadBuffer(buffer), c.SetWriteBuffer(buffer), c.SetDeadline(time.Now().Add(patience)))
	}))
	if err != nil {
		return nil, fmt.Errorf("connect to nftables: %w", err)
	}
	return conn, nil
}

// newSet completes a set. The library numbers sets by a global counter that is
// not safe for concurrent use, so they get their numbers here.
func (t *Table) newSet(s nf.Set) *nf.Set {
	t.lastSetID++
	s.ID, s.Table = t.lastSetID, t.table
	return &s
}

func (t *Table) chain(name string) *nf.Chain { return &nf.Chain{Name: name, Table: t.table} }

// backendMap is the map from a number to a backend of a group.
func (t *Table) backendMap(group string) *nf.Set {
	return t.newSet(nf.Set{Name: group, IsMap: true, KeyType: nf.TypeInteger, DataType: backendType()})
}

// affinityMap is the map from a client to its backend of a group.
func (t *Table) affinityMap(group string, timeout time.Duration) *nf.Set {
	const clients = 1 << 16
	return t.newSet(nf.Set{
		Name: affinityPrefix + group, IsMap: true, KeyType: nf.TypeIPAddr, DataType: backendType(),
		Dynamic: true, HasTimeout: true, Timeout: timeout, Size: clients,
	})
}

func frontendType() nf.SetDatatype {
	return nf.MustConcatSetType(nf.TypeIPAddr, nf.TypeInetProto, nf.TypeInetService)
}

func backendType() nf.SetDatatype {
	return nf.MustConcatSetType(nf.TypeIPAddr, nf.TypeInetService)
}
