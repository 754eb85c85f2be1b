package main

import (
	"errors"
	"net"
	"sync"
)

// joinedListener accepts from several listeners as one.
type joinedListener struct {
	listeners []net.Listener
	accepted  chan accepted
	closed    chan struct{}
	close     func() error
}

type accepted struct {
	conn net.Conn
	err  error
}

// joinListeners returns a listener that accepts what any of listeners does.
func joinListeners(listeners []net.Listener) net.Listener {
	j := &joinedListener{listeners: listeners, accepted: make(chan accepted), closed: make(chan struct{})}
	j.close = sync.OnceValue(func() error {
		close(j.closed)
		var errs []error
		for _, l := range listeners {
			errs = append(errs, l.Close())
		}
		return errors.Join(errs...)
	})
	for _, l := range listeners {
		go j.acceptFrom(l)
	}
	return j
}

func (j *joinedListener) acceptFrom(l net.Listener) {
	for {
		conn, err := l.Accept()
		select {
		case j.accepted <- accepted{conn, err}:
		case <-j.closed:
			if conn != nil {
				_ = conn.Close()
			}
			return
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

// Accept implements net.Listener.
func (j *joinedListener) Accept() (net.Conn, error) {
	select {
	case a := <-j.accepted:
		return a.conn, a.err
	case <-j.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (j *joinedListener) Close() error { return j.close() }

// Addr implements net.Listener.
func (j *joinedListener) Addr() net.Addr { return j.listeners[0].Addr() }
