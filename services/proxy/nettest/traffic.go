//go:build linux

package nettest

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// Serve answers TCP connections and UDP datagrams at an address with the
// namespace's name and the client's address, for example "web-1 10.244.0.5".
func (ns *Namespace) Serve(address string) {
	ns.t.Helper()
	ns.ServeTCP(address)
	var packets net.PacketConn
	err := ns.Do(func() (err error) { packets, err = net.ListenPacket("udp4", address); return err })
	ns.must("listen on udp "+address, err)
	ns.t.Cleanup(func() { _ = packets.Close() })
	go ns.answerPackets(packets)
}

// ServeTCP is Serve for TCP only; the returned function stops it.
func (ns *Namespace) ServeTCP(address string) (stop func()) {
	ns.t.Helper()
	var listener net.Listener
	err := ns.Do(func() (err error) { listener, err = net.Listen("tcp4", address); return err })
	ns.must("listen on tcp "+address, err)
	stop = func() { _ = listener.Close() }
	ns.t.Cleanup(stop)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = fmt.Fprint(conn, ns.answer(conn.RemoteAddr()))
			_ = conn.Close()
		}
	}()
	return stop
}

func (ns *Namespace) answerPackets(packets net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		_, from, err := packets.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = packets.WriteTo([]byte(ns.answer(from)), from)
	}
}

func (ns *Namespace) answer(client net.Addr) string {
	host, _, _ := net.SplitHostPort(client.String())
	return ns.Name + " " + host
}

// Answer is what a server said: its name and the client it saw.
type Answer struct{ Server, Client string }

const patience = 3 * time.Second

// Ask connects over "tcp" or "udp" and returns the server's answer.
func (ns *Namespace) Ask(network, address string) (Answer, error) {
	conn, err := ns.Dial(network, address)
	if err != nil {
		return Answer{}, err
	}
	defer conn.Close()
	return Talk(conn, network)
}

// Dial connects from the namespace.
func (ns *Namespace) Dial(network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var conn net.Conn
	err := ns.Do(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network+"4", address)
		return err
	})
	return conn, err
}

// Talk has one exchange with a server over a connection.
func Talk(conn net.Conn, network string) (Answer, error) {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return Answer{}, err
	}
	text, err := exchange(conn, network)
	if err != nil {
		return Answer{}, err
	}
	server, client, ok := strings.Cut(text, " ")
	if !ok {
		return Answer{}, fmt.Errorf("an answer of another kind: %q", text)
	}
	return Answer{Server: server, Client: client}, nil
}

func exchange(conn net.Conn, network string) (string, error) {
	if network == "tcp" {
		b, err := io.ReadAll(conn)
		return string(b), err
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		return "", err
	}
	buf := make([]byte, 1500)
	n, err := conn.Read(buf)
	return string(buf[:n]), err
}
