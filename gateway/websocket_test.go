package gateway_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net/url"
	"testing"

	"golang.org/x/net/websocket"
)

// dialWebSocket opens a pod's subresource in a protocol.
func (c *cluster) dialWebSocket(pod, subresource string, query url.Values, protocol string) *websocket.Conn {
	c.t.Helper()
	u := c.podURL(pod, subresource, query)
	u.Scheme = "wss"
	config, err := websocket.NewConfig(u.String(), c.address)
	if err != nil {
		c.t.Fatal(err)
	}
	config.TlsConfig = c.tls("admin")
	if protocol != "" {
		config.Protocol = []string{protocol}
	}
	conn, err := config.DialContext(c.t.Context())
	if err != nil {
		c.t.Fatalf("open %s in protocol %q: %v", subresource, protocol, err)
	}
	c.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// messages are those that come until the connection ends.
func messages(t *testing.T, conn *websocket.Conn) (all [][]byte) {
	t.Helper()
	for {
		var m []byte
		err := websocket.Message.Receive(conn, &m)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
}

// TestFirstWebSocketProtocols speaks the channel protocols of before version 4: a
// success is told of by nothing, a failure by its words.
func TestFirstWebSocketProtocols(t *testing.T) {
	t.Parallel()
	c := start(t, newNode(t))
	c.runPod("web", "main")
	for _, protocol := range []string{"", "channel.k8s.io", "base64.channel.k8s.io"} {
		for name, tt := range map[string]struct {
			command []string
			want    map[byte]string
		}{
			"success": {[]string{"echo", "hello"}, map[byte]string{1: "hello"}},
			"failure": {[]string{"exit", "7"}, map[byte]string{2: "failing\n", 3: "command terminated with non-zero exit code: exit status 7"}},
		} {
			t.Run(protocol+"/"+name, func(t *testing.T) {
				conn := c.dialWebSocket("web", "exec", url.Values{"command": tt.command, "stdout": {"1"}, "stderr": {"1"}}, protocol)
				got := make(map[byte]string)
				for _, m := range messages(t, conn) {
					channel, text := m[0], m[1:]
					if protocol == "base64.channel.k8s.io" {
						channel -= '0'
						decoded, err := base64.StdEncoding.DecodeString(string(text))
						if err != nil {
							t.Fatal(err)
						}
						text = decoded
					}
					if len(text) > 0 {
						got[channel] += string(text)
					}
				}
				if len(got) != len(tt.want) {
					t.Errorf("got %q, want %q", got, tt.want)
				}
				for channel, want := range tt.want {
					if got[channel] != want {
						t.Errorf("channel %d: got %q, want %q", channel, got[channel], want)
					}
				}
			})
		}
	}
}

// TestLogsOverWebSocket reads a log in messages.
func TestLogsOverWebSocket(t *testing.T) {
	t.Parallel()
	c := start(t, newNode(t))
	c.runPod("web", "main")
	want := c.do(c.http("admin"), "GET", "/api/v1/namespaces/default/pods/web/log", nil).body
	if want == "" {
		t.Fatal("the pod has no log")
	}
	for _, protocol := range []string{"", "binary.k8s.io"} {
		conn := c.dialWebSocket("web", "log", nil, protocol)
		if got := string(bytes.Join(messages(t, conn), nil)); got != want {
			t.Errorf("in protocol %q: %q, want %q", protocol, got, want)
		}
	}
}
