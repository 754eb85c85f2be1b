package main

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestRelay(t *testing.T) {
	const ready = "ready in 1.3s  nodes 1  KUBECONFIG=/k"
	for _, tc := range []struct {
		name      string
		from      io.Reader
		out, fail string
	}{
		{"ready", strings.NewReader(ready + "\n"), ready + "\n", ""},
		{"ready, without an end of line", strings.NewReader(ready), ready + "\n", ""},
		{"a reason", strings.NewReader("port 6443 is in use\n"), "", "port 6443 is in use"},
		{"nothing", strings.NewReader(""), "", "see /logs/up.log"},
		{"only an end of line", strings.NewReader("\n"), "", "see /logs/up.log"},
		{"unreadable", iotest.ErrReader(errors.New("broken pipe")), "", "broken pipe"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out strings.Builder
			err := relay(&out, tc.from, "/logs/up.log")
			if out.String() != tc.out {
				t.Errorf("the user reads %q, want %q", out.String(), tc.out)
			}
			switch {
			case tc.fail == "" && err != nil:
				t.Errorf("the error is %v, want none", err)
			case tc.fail != "" && (err == nil || !strings.Contains(err.Error(), tc.fail)):
				t.Errorf("the error is %v, want one with %q", err, tc.fail)
			}
		})
	}
}
