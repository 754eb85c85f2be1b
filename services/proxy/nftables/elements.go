package nftables

import (
	"encoding/binary"
	"net/netip"

	nf "github.com/google/nftables"
	"github.com/google/nftables/expr"
	corev1 "k8s.io/api/core/v1"

	"golang.org/x/sys/unix"

	"navarch.dev/navarch/services/proxy/routes"
)

// frontendKey is a frontend as the key of targets, inside and masquerade: the
// parts of a concatenation are padded to four bytes each.
func frontendKey(f routes.Frontend) []byte {
	addr := f.Addr.As4()
	key := append(make([]byte, 0, 12), addr[:]...)
	key = append(key, protocolNumber(f.Protocol), 0, 0, 0)
	return append(binary.BigEndian.AppendUint16(key, f.Port), 0, 0)
}

// backendValue is a backend as the data of backend and affinity maps.
func backendValue(a netip.AddrPort) []byte {
	addr := a.Addr().As4()
	value := append(make([]byte, 0, 8), addr[:]...)
	return append(binary.BigEndian.AppendUint16(value, a.Port()), 0, 0)
}

// backendOf is the reverse of backendValue.
func backendOf(value []byte) (netip.AddrPort, bool) {
	if len(value) < 6 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(value[:4])), binary.BigEndian.Uint16(value[4:6])), true
}

func numberKey(n int) []byte {
	return binary.NativeEndian.AppendUint32(nil, uint32(n))
}

func hairpinKey(a netip.Addr) []byte {
	addr := a.As4()
	return append(addr[:], addr[:]...)
}

func protocolNumber(p corev1.Protocol) byte {
	switch p {
	case corev1.ProtocolUDP:
		return unix.IPPROTO_UDP
	case corev1.ProtocolSCTP:
		return unix.IPPROTO_SCTP
	}
	return unix.IPPROTO_TCP
}

func verdictOf(t routes.Target) *expr.Verdict {
	switch t.Action {
	case routes.Forward:
		return &expr.Verdict{Kind: expr.VerdictGoto, Chain: t.Group}
	case routes.Drop:
		return &expr.Verdict{Kind: expr.VerdictDrop}
	}
	return &expr.Verdict{Kind: expr.VerdictGoto, Chain: chainReject}
}

func targetElement(f routes.Frontend, t routes.Target) nf.SetElement {
	return nf.SetElement{Key: frontendKey(f), VerdictData: verdictOf(t)}
}

func frontendElement(f routes.Frontend, _ struct{}) nf.SetElement {
	return nf.SetElement{Key: frontendKey(f)}
}

func hairpinElement(a netip.Addr, _ struct{}) nf.SetElement {
	return nf.SetElement{Key: hairpinKey(a)}
}

func backendElements(g routes.Group) []nf.SetElement {
	out := make([]nf.SetElement, len(g.Addrs))
	for i, addr := range g.Addrs {
		out[i] = nf.SetElement{Key: numberKey(i), Val: backendValue(addr)}
	}
	return out
}
