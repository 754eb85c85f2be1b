package network

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// portRule is one host port with the pod it leads to.
type portRule struct {
	HostPort
	podIP netip.Addr
}

// allHostPorts returns the host ports of every attached pod.
func (n *Network) allHostPorts() ([]portRule, error) {
	uids, err := n.known()
	if err != nil {
		return nil, err
	}
	var rules []portRule
	for _, uid := range uids {
		a, ok, err := n.Attachment(uid)
		if err != nil || !ok {
			continue // being made or taken away
		}
		for _, p := range a.HostPorts {
			rules = append(rules, portRule{HostPort: p, podIP: a.IPs[0]})
		}
	}
	return rules, nil
}

// syncTable writes the table again, with the host ports of now.
func (n *Network) syncTable() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	ports, err := n.allHostPorts()
	if err != nil {
		return err
	}
	return n.writeTable(n.cidrs, ports)
}

// writeTable replaces the agent's nftables table in one transaction:
//
//	chain hostports   { <port rules> dnat }
//	chain prerouting  { fib daddr type local jump hostports }
//	chain output      { fib daddr type local jump hostports }
//	chain postrouting { <hairpin rules>
//	                    saddr <pod CIDR> daddr <cluster CIDR> accept
//	                    saddr <pod CIDR> daddr 224.0.0.0/4 accept
//	                    saddr <pod CIDR> masquerade }
func (n *Network) writeTable(cidrs []netip.Prefix, ports []portRule) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: n.cfg.tableName()}
	c.AddTable(table)
	c.DelTable(table)
	table = c.AddTable(table)
	hostports := c.AddChain(&nftables.Chain{Name: "hostports", Table: table})
	addPortChains(c, table, hostports)
	post := c.AddChain(&nftables.Chain{
		Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	rule := func(chain *nftables.Chain, exprs ...[]expr.Any) {
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: concat(exprs)})
	}
	for _, p := range ports {
		if !p.podIP.Is4() {
			continue
		}
		rule(hostports, matchPort(p.HostPort), dnatTo(p.podIP, p.ContainerPort))
		// A pod that reaches itself through the node must see the node.
		one := netip.PrefixFrom(p.podIP, 32)
		rule(post, matchNet(sourceOffset, one), matchNet(destinationOffset, one), masquerade())
	}
	for _, own := range cidrs {
		if !own.Addr().Is4() {
			continue
		}
		for _, inside := range n.cfg.ClusterCIDRs {
			if inside.Addr().Is4() {
				rule(post, matchNet(sourceOffset, own), matchNet(destinationOffset, inside), accept())
			}
		}
		rule(post, matchNet(sourceOffset, own), matchNet(destinationOffset, netip.MustParsePrefix("224.0.0.0/4")), accept())
		rule(post, matchNet(sourceOffset, own), masquerade())
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("write the nftables table %s: %w", table.Name, err)
	}
	return nil
}

func addPortChains(c *nftables.Conn, table *nftables.Table, hostports *nftables.Chain) {
	for name, hook := range map[string]*nftables.ChainHook{
		"prerouting": nftables.ChainHookPrerouting, "output": nftables.ChainHookOutput,
	} {
		chain := c.AddChain(&nftables.Chain{
			Name: name, Table: table, Type: nftables.ChainTypeNAT,
			Hooknum: hook, Priority: nftables.ChainPriorityNATDest,
		})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
			&expr.Verdict{Kind: expr.VerdictJump, Chain: hostports.Name},
		}})
	}
}

func removeTable(name string) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: name}
	c.AddTable(table) // so that removing it succeeds in any case
	c.DelTable(table)
	if err := c.Flush(); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove the nftables table %s: %w", name, err)
	}
	return nil
}

// Offsets of the addresses in an IPv4 header.
const (
	sourceOffset      = 12
	destinationOffset = 16
)

func matchNet(offset uint32, p netip.Prefix) []expr.Any {
	ip := p.Masked().Addr().As4()
	var mask [4]byte
	binary.BigEndian.PutUint32(mask[:], ^uint32(0)<<(32-p.Bits()))
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask[:], Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: ip[:]},
	}
}

var protocols = map[corev1.Protocol]byte{
	"": unix.IPPROTO_TCP, corev1.ProtocolTCP: unix.IPPROTO_TCP,
	corev1.ProtocolUDP: unix.IPPROTO_UDP, corev1.ProtocolSCTP: unix.IPPROTO_SCTP,
}

func matchPort(p HostPort) []expr.Any {
	var exprs []expr.Any
	if ip, err := netip.ParseAddr(p.HostIP); err == nil && ip.Is4() && !ip.IsUnspecified() {
		exprs = matchNet(destinationOffset, netip.PrefixFrom(ip, 32))
	}
	return append(exprs,
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocols[p.Protocol]}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(uint16(p.HostPort))},
	)
}

func dnatTo(ip netip.Addr, port int32) []expr.Any {
	addr := ip.As4()
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: addr[:]},
		&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(uint16(port))},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2, Specified: true},
	}
}

func masquerade() []expr.Any { return []expr.Any{&expr.Masq{}} }

func accept() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}} }

func concat(parts [][]expr.Any) []expr.Any {
	var all []expr.Any
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}
