package network_test

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// The world outside the cluster: a network namespace behind a link of the host,
// which knows no way to nodes or pods. What reaches it and gets an answer had
// the host's address as its source.
const (
	hostInWorld  = "198.51.100.1"
	worldAddress = "198.51.100.2"
	// worldName is a name that only the world's DNS server knows.
	worldName, worldNamed = "www.outside.test.", "203.0.113.7"
)

func makeWorld(t *testing.T) {
	t.Helper()
	ready := make(chan error)
	end := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// The thread is left in the world and ends with this goroutine.
		runtime.LockOSThread()
		host, err := netns.Get()
		if err != nil {
			ready <- err
			return
		}
		defer func() { _ = host.Close() }()
		world, err := netns.New()
		if err != nil {
			ready <- err
			return
		}
		defer func() { _ = world.Close() }()
		stop, err := furnish(host, world)
		ready <- err
		if err == nil {
			<-end
			stop()
			unlink(host)
		}
	}()
	if err := <-ready; err != nil {
		t.Fatalf("make the world: %v", err)
	}
	t.Cleanup(func() { close(end); <-ended })
}

// linkName is the host's end of the link to the world.
func linkName() string { return fmt.Sprintf("nvw%d", os.Getpid()) }

// unlink removes the link now: the kernel takes its time to end the namespace.
func unlink(host netns.NsHandle) {
	outside, err := netlink.NewHandleAt(host)
	if err != nil {
		return
	}
	defer outside.Close()
	if link, err := outside.LinkByName(linkName()); err == nil {
		_ = outside.LinkDel(link)
	}
}

// furnish links the calling thread's namespace, the world, to the host's and
// starts its servers.
func furnish(host, world netns.NsHandle) (stop func(), err error) {
	outside, err := netlink.NewHandleAt(host)
	if err != nil {
		return nil, err
	}
	defer outside.Close()
	attrs := netlink.NewLinkAttrs()
	// It goes with the namespace, so also if the test is killed.
	attrs.Name = linkName()
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(world))}
	if err := outside.LinkAdd(veth); err != nil {
		return nil, fmt.Errorf("add the link: %w", err)
	}
	inside, err := netlink.NewHandleAt(world)
	if err != nil {
		return nil, err
	}
	defer inside.Close()
	for _, end := range []struct {
		*netlink.Handle
		link, address string
	}{{outside, attrs.Name, hostInWorld}, {inside, "eth0", worldAddress}} {
		link, err := end.LinkByName(end.link)
		if err != nil {
			return nil, err
		}
		prefix := netip.PrefixFrom(netip.MustParseAddr(end.address), 24)
		if err := end.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(24, 32)}}); err != nil {
			return nil, err
		}
		if err := end.LinkSetUp(link); err != nil {
			return nil, err
		}
	}
	return serveWorld()
}

func serveWorld() (stop func(), err error) {
	listener, err := net.Listen("tcp4", worldAddress+":80")
	if err != nil {
		return nil, err
	}
	packets, err := net.ListenPacket("udp4", worldAddress+":53")
	if err != nil {
		return nil, err
	}
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprintln(w, "world", client)
	})}
	names := &dns.Server{PacketConn: packets, Handler: dns.HandlerFunc(answerWorld)}
	go func() { _ = web.Serve(listener) }()
	go func() { _ = names.ActivateAndServe() }()
	return func() {
		_ = web.Close()
		_ = names.Shutdown()
	}, nil
}

func answerWorld(w dns.ResponseWriter, r *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(r)
	q := r.Question[0]
	switch {
	case !strings.EqualFold(q.Name, worldName):
		m.Rcode = dns.RcodeNameError
	case q.Qtype == dns.TypeA:
		m.Answer = append(m.Answer, &dns.A{
			Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 30}, A: net.ParseIP(worldNamed),
		})
	}
	_ = w.WriteMsg(m) // a client that is gone
}
