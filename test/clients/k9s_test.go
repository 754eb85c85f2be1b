package clients_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/creack/pty"
	"github.com/hinshun/vt10x"

	"navarch.dev/navarch/internal/testcluster"
)

// screen is a program on a terminal of its own.
type screen struct {
	keys     io.Writer
	terminal vt10x.Terminal
}

// run starts a client on a terminal until the test ends. exited is closed when
// it ends by itself.
func (s suite) run(t *testing.T, program string, args ...string) (on *screen, exited <-chan struct{}) {
	t.Helper()
	const columns, rows = 160, 50
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	cmd := s.command(ctx, program, args...)
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: columns, Rows: rows})
	if err != nil {
		cancel()
		t.Fatalf("start %s on a terminal: %v", program, err)
	}
	on = &screen{keys: tty, terminal: vt10x.New(vt10x.WithSize(columns, rows), vt10x.WithWriter(tty))}
	ended := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() { // until the program has ended
		output := bufio.NewReader(tty)
		for on.terminal.Parse(output) == nil {
		}
	})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // how it ended shows on the screen
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		_ = tty.Close()
		reading.Wait()
		if t.Failed() {
			t.Logf("the screen at the end:\n%s", on.terminal.String())
		}
	})
	return on, ended
}

// shows waits until all the texts are on the screen.
func (on *screen) shows(t *testing.T, wants ...string) {
	t.Helper()
	testcluster.Eventually(t, fmt.Sprintf("the screen shows %q", wants), func() error {
		text := on.terminal.String()
		for _, want := range wants {
			if !strings.Contains(text, want) {
				return fmt.Errorf("no %q on it", want)
			}
		}
		return nil
	})
}

func (on *screen) types(t *testing.T, keys string) {
	t.Helper()
	if _, err := io.WriteString(on.keys, keys); err != nil {
		t.Fatalf("type %q: %v", keys, err)
	}
}

// testK9s looks at pods, their logs and their description on k9s' screen.
func (s suite) testK9s(t *testing.T) {
	const enter, escape = "\r", "\x1b"
	pods := s.deployTalkers(t)
	on, exited := s.run(t, "k9s", "--namespace", "default", "--command", "pods", "--logoless", "--splashless")
	on.shows(t, pods[0], pods[1], "Running")
	on.types(t, "l") // the logs of whichever is selected
	on.shows(t, "I am talkers-")
	on.types(t, escape)
	on.shows(t, "RESTARTS") // what follows an escape at once would be taken for a part of it
	on.types(t, ":deployments"+enter)
	on.shows(t, "talkers", "2/2")
	on.types(t, ":nodes"+enter)
	on.shows(t, s.Kubectl(t, "get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"), "Ready")
	on.types(t, ":quit"+enter)
	select {
	case <-exited:
	case <-t.Context().Done():
		t.Error("k9s did not quit")
	}
}
