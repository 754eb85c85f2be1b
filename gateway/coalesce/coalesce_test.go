package coalesce

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// wire is a connection whose peer takes a write when it is let.
type wire struct {
	net.Conn // nil: what is not expected to be called
	let      chan struct{}

	mu       sync.Mutex
	writes   [][]byte
	deadline time.Time
	err      error
	closed   bool
}

func (w *wire) Write(p []byte) (int, error) {
	var late <-chan time.Time
	if d := w.writeDeadline(); !d.IsZero() {
		late = time.After(time.Until(d))
	}
	select {
	case <-w.let:
	case <-late:
		return 0, os.ErrDeadlineExceeded
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	w.writes = append(w.writes, bytes.Clone(p))
	return len(p), nil
}

func (w *wire) writeDeadline() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.deadline
}

func (w *wire) SetWriteDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline = t
	return nil
}

func (*wire) SetReadDeadline(time.Time) error { return nil }

func (w *wire) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	return nil
}

func (w *wire) state() (writes [][]byte, closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.writes, w.closed
}

func mustWrite(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if n, err := io.WriteString(w, text); err != nil || n != len(text) {
		t.Fatalf("wrote %d bytes of %q: %v", n, text, err)
	}
}

// inBubble runs a test with a connection to a wire that takes nothing unless
// it is let.
func inBubble(t *testing.T, test func(t *testing.T, c *conn, w *wire)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &wire{let: make(chan struct{})}
		test(t, newConn(w), w)
	})
}

func check(t *testing.T, w *wire, want ...string) {
	t.Helper()
	writes, _ := w.state()
	if len(writes) != len(want) {
		t.Fatalf("%d writes %q, want %q", len(writes), writes, want)
	}
	for i := range want {
		if string(writes[i]) != want[i] {
			t.Errorf("write %d is %q, want %q", i, writes[i], want[i])
		}
	}
}

// A write after a pause goes out by itself, before Write returns; those that
// follow it closely go out together.
func TestWritesThatFollowCloselyGoTogether(t *testing.T) {
	inBubble(t, func(t *testing.T, c *conn, w *wire) {
		go func() { w.let <- struct{}{} }()
		mustWrite(t, c, "a")
		check(t, w, "a")
		for _, text := range []string{"b", "c", "d"} {
			mustWrite(t, c, text)
		}
		check(t, w, "a")
		w.let <- struct{}{}
		synctest.Wait()
		check(t, w, "a", "bcd")

		time.Sleep(pause)
		go func() { w.let <- struct{}{} }()
		mustWrite(t, c, "e")
		check(t, w, "a", "bcd", "e")
	})
}

func TestWritersWaitForRoom(t *testing.T) {
	inBubble(t, func(t *testing.T, c *conn, w *wire) {
		go func() { w.let <- struct{}{} }()
		mustWrite(t, c, "a")
		mustWrite(t, c, "b")
		synctest.Wait() // b is being sent
		full := string(make([]byte, mostHeld))
		mustWrite(t, c, full)
		done := false
		go func() {
			mustWrite(t, c, "c")
			done = true
		}()
		synctest.Wait()
		if done {
			t.Error("a write did not wait although enough was held")
		}
		w.let <- struct{}{}
		synctest.Wait()
		if !done {
			t.Error("a write still waits although there is room")
		}
		w.let <- struct{}{}
		w.let <- struct{}{}
		synctest.Wait()
		check(t, w, "a", "b", full, "c")
	})
}

func TestErrorIsToldByALaterWrite(t *testing.T) {
	inBubble(t, func(t *testing.T, c *conn, w *wire) {
		go func() { w.let <- struct{}{} }()
		mustWrite(t, c, "a")
		mustWrite(t, c, "b")
		w.err = io.ErrClosedPipe
		w.let <- struct{}{}
		synctest.Wait()
		if _, err := c.Write([]byte("c")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the error is %v, want %v", err, io.ErrClosedPipe)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if _, closed := w.state(); !closed {
			t.Error("the connection is open although nothing was held")
		}
	})
}

// TLS says goodbye, lets its deadline pass and closes: what is held, and the
// goodbye, are sent all the same.
func TestCloseSendsWhatIsHeld(t *testing.T) {
	inBubble(t, func(t *testing.T, c *conn, w *wire) {
		go func() { w.let <- struct{}{} }()
		mustWrite(t, c, "a")
		mustWrite(t, c, "b")
		mustWrite(t, c, "goodbye")
		if err := c.SetWriteDeadline(time.Now()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("late")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the error is %v, want %v", err, os.ErrDeadlineExceeded)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("later")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the error is %v, want %v", err, net.ErrClosed)
		}
		if _, closed := w.state(); closed {
			t.Error("the connection was closed before what is held was sent")
		}
		w.let <- struct{}{}
		synctest.Wait()
		check(t, w, "a", "bgoodbye")
		if _, closed := w.state(); !closed {
			t.Error("the connection is still open")
		}
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the error of a second Close is %v, want %v", err, net.ErrClosed)
		}
	})
}

func TestCloseGivesUpOnAPeerThatTakesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, c *conn, w *wire) {
		go func() { w.let <- struct{}{} }()
		mustWrite(t, c, "a")
		mustWrite(t, c, "b")
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(closeGrace + time.Second)
		synctest.Wait()
		if _, closed := w.state(); !closed {
			t.Error("the connection is still open")
		}
	})
}

// TestOrder sends numbers over TCP, with pauses and without.
func TestOrder(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l = Listener(l)
	defer func() { _ = l.Close() }()
	sent := make(chan []byte, 1)
	go func() {
		var want []byte
		defer func() { sent <- want }()
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		for i := range 20_000 {
			piece := bytes.Repeat([]byte{byte(i)}, i%700)
			want = append(want, piece...)
			if i%3000 == 0 {
				time.Sleep(pause)
			}
			if _, err := c.Write(piece); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	got, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	if want := <-sent; !bytes.Equal(got, want) {
		t.Errorf("received %d bytes that are not the %d that were sent", len(got), len(want))
	}
}
