package nftables

import (
	"encoding/binary"
	"net/netip"
	"time"

	nf "github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Registers. The kernel has 16 of four bytes (8 and up); 1 to 4 name four of
// them each. Concatenations occupy adjacent ones.
const (
	regFirst  = unix.NFT_REG_1    // = 8…11: keys, then the chosen backend
	regSecond = unix.NFT_REG32_01 // protocol of a key, port of a backend
	regThird  = unix.NFT_REG32_02 // port of a key
	regClient = unix.NFT_REG_2    // the client's address
)

// Offsets in the IPv4 header, and of a transport header's destination port.
const (
	offsetSource      = 12
	offsetDestination = 16
	offsetPort        = 2
)

// rule is a rule in the making: each method appends what it says.
type rule []expr.Any

// frontend loads the packet's destination as a key.
func (r rule) frontend() rule {
	return append(r, loadAddress(offsetDestination, regFirst)).protocolAndPort()
}

// nodePort loads the packet's destination port as a node port's key.
func (r rule) nodePort() rule {
	return append(r, &expr.Immediate{Register: regFirst, Data: make([]byte, 4)}).protocolAndPort()
}

func (r rule) protocolAndPort() rule {
	return append(r,
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: regSecond},
		&expr.Payload{DestRegister: regThird, Base: expr.PayloadBaseTransportHeader, Offset: offsetPort, Len: 2})
}

// in goes on only if the loaded key is in the set.
func (r rule) in(set *nf.Set) rule {
	return append(r, &expr.Lookup{SourceRegister: regFirst, SetName: set.Name, SetID: set.ID})
}

// verdict ends with the verdict that the map has for the loaded key.
func (r rule) verdict(m *nf.Set) rule {
	return append(r, &expr.Lookup{SourceRegister: regFirst, DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: m.Name, SetID: m.ID})
}

// addressIn goes on only if the address at an offset is, or is not, in prefix.
func (r rule) addressIn(offset uint32, prefix netip.Prefix, is bool) rule {
	addr := prefix.Masked().Addr().As4()
	mask := binary.BigEndian.AppendUint32(nil, ^uint32(0)<<(32-prefix.Bits()))
	op := expr.CmpOpEq
	if !is {
		op = expr.CmpOpNeq
	}
	return append(r, loadAddress(offset, regFirst),
		&expr.Bitwise{SourceRegister: regFirst, DestRegister: regFirst, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: op, Register: regFirst, Data: addr[:]})
}

// destinationIsOwn goes on only if the destination is an address of the node.
func (r rule) destinationIsOwn() rule {
	return append(r, &expr.Fib{Register: regFirst, FlagDADDR: true, ResultADDRTYPE: true}, isLocal())
}

// sourceIsOwn goes on only if the source is an address of the node.
func (r rule) sourceIsOwn() rule {
	return append(r, &expr.Fib{Register: regFirst, FlagSADDR: true, ResultADDRTYPE: true}, isLocal())
}

// destinationIsForeign goes on only if the destination is no address of the node.
func (r rule) destinationIsForeign() rule {
	return append(r, &expr.Fib{Register: regFirst, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: regFirst, Data: nativeUint32(unix.RTN_LOCAL)})
}

func isLocal() expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: regFirst, Data: nativeUint32(unix.RTN_LOCAL)}
}

// loopback goes on only if a packet comes in by (IIFNAME) or leaves by (OIFNAME)
// the loopback link, or does not.
func (r rule) loopback(direction expr.MetaKey, is bool) rule {
	op := expr.CmpOpEq
	if !is {
		op = expr.CmpOpNeq
	}
	return append(r, &expr.Meta{Key: direction, Register: regFirst}, &expr.Cmp{Op: op, Register: regFirst, Data: linkText("lo")})
}

// byBridge goes on only if the packet leaves by a bridge.
func (r rule) byBridge() rule {
	const outputLinkKind expr.MetaKey = 27 // NFT_META_OIFKIND
	return append(r, &expr.Meta{Key: outputLinkKind, Register: regFirst},
		&expr.Cmp{Op: expr.CmpOpEq, Register: regFirst, Data: linkText("bridge")})
}

// linkText is a link's name or kind as the kernel loads it.
func linkText(text string) []byte {
	out := make([]byte, unix.IFNAMSIZ)
	copy(out, text)
	return out
}

// tcp goes on only for TCP.
func (r rule) tcp() rule {
	return append(r, &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: regFirst},
		&expr.Cmp{Op: expr.CmpOpEq, Register: regFirst, Data: []byte{unix.IPPROTO_TCP}})
}

// mark sets a bit of the packet's mark.
func (r rule) mark(bit uint32) rule { return r.changeMark(^bit, bit) }

// unmark goes on only if a bit of the packet's mark is set, and clears it.
func (r rule) unmark(bit uint32) rule {
	return append(r, &expr.Meta{Key: expr.MetaKeyMARK, Register: regFirst},
		&expr.Bitwise{SourceRegister: regFirst, DestRegister: regFirst, Len: 4, Mask: nativeUint32(bit), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: regFirst, Data: make([]byte, 4)}).changeMark(^bit, 0)
}

func (r rule) changeMark(mask, xor uint32) rule {
	return append(r, &expr.Meta{Key: expr.MetaKeyMARK, Register: regFirst},
		&expr.Bitwise{SourceRegister: regFirst, DestRegister: regFirst, Len: 4, Mask: nativeUint32(mask), Xor: nativeUint32(xor)},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: regFirst, SourceRegister: true})
}

// translated goes on only for connections whose destination was translated.
func (r rule) translated() rule {
	const statusDNAT = 1 << 5 // IPS_DST_NAT
	return append(r, &expr.Ct{Key: expr.CtKeySTATUS, Register: regFirst},
		&expr.Bitwise{SourceRegister: regFirst, DestRegister: regFirst, Len: 4, Mask: nativeUint32(statusDNAT), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: regFirst, Data: make([]byte, 4)})
}

// pair loads the packet's source and destination as a key.
func (r rule) pair() rule {
	return append(r, loadAddress(offsetSource, regFirst), loadAddress(offsetDestination, regSecond))
}

// pick loads one of n backends at random.
func (r rule) pick(backends *nf.Set, n int) rule {
	return append(r, &expr.Numgen{Register: regFirst, Modulus: uint32(n), Type: unix.NFT_NG_RANDOM},
		&expr.Lookup{SourceRegister: regFirst, DestRegister: regFirst, IsDestRegSet: true, SetName: backends.Name, SetID: backends.ID})
}

// recall loads the backend that the client had, and goes on only if it had one.
func (r rule) recall(clients *nf.Set) rule {
	return append(r, loadAddress(offsetSource, regClient),
		&expr.Lookup{SourceRegister: regClient, DestRegister: regFirst, IsDestRegSet: true, SetName: clients.Name, SetID: clients.ID})
}

// remember ties the client to the loaded backend for a time.
func (r rule) remember(clients *nf.Set, timeout time.Duration) rule {
	return append(r, loadAddress(offsetSource, regClient), &expr.Dynset{
		SrcRegKey: regClient, SrcRegData: regFirst, SetName: clients.Name, SetID: clients.ID,
		Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: timeout,
	})
}

// dnat sends the connection to the loaded backend.
func (r rule) dnat() rule {
	return append(r, &expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: regFirst, RegProtoMin: regSecond})
}

func (r rule) masquerade() rule { return append(r, &expr.Masq{FullyRandom: true}) }

func (r rule) rejectTCP() rule { return append(r, &expr.Reject{Type: unix.NFT_REJECT_TCP_RST}) }

func (r rule) rejectPort() rule {
	const portUnreachable = 3
	return append(r, &expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: portUnreachable})
}

func (r rule) jump(chain string) rule {
	return append(r, &expr.Verdict{Kind: expr.VerdictJump, Chain: chain})
}

func (r rule) goTo(chain string) rule {
	return append(r, &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain})
}

func (r rule) accept() rule { return append(r, &expr.Verdict{Kind: expr.VerdictAccept}) }

func (r rule) drop() rule { return append(r, &expr.Verdict{Kind: expr.VerdictDrop}) }

func loadAddress(offset uint32, register uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4}
}

func nativeUint32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
