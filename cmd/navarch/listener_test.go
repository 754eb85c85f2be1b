package main

import (
	"errors"
	"io"
	"net"
	"testing"
)

func TestJoinedListenersAcceptAsOne(t *testing.T) {
	a, b := listenLoopback(t), listenLoopback(t)
	joined := joinListeners([]net.Listener{a, b})
	if joined.Addr() != a.Addr() {
		t.Errorf("the address is %v, want the first one's", joined.Addr())
	}
	for _, l := range []net.Listener{b, a, b} {
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		server, err := joined.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if server.LocalAddr().String() != l.Addr().String() {
			t.Errorf("accepted on %v, want %v", server.LocalAddr(), l.Addr())
		}
		_, _ = client.Close(), server.Close()
	}
	if err := joined.Close(); err != nil {
		t.Error(err)
	}
	if _, err := joined.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed listener answers %v", err)
	}
	if err := joined.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
}

// A connection that nobody accepts any more must not be left hanging.
func TestJoinedListenerClosesWhatIsNotAccepted(t *testing.T) {
	l := listenLoopback(t)
	joined := joinListeners([]net.Listener{l})
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := joined.Close(); err != nil {
		t.Error(err)
	}
	if _, err := client.Read(make([]byte, 1)); err == nil || errors.Is(err, io.ErrNoProgress) {
		t.Errorf("the connection is still open (%v)", err)
	}
}

func listenLoopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}
