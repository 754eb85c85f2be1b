package gateway_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// received gathers what comes on the channels of a WebSocket, until it is what
// is wanted.
func received(t *testing.T, conn *websocket.Conn, decode func([]byte) (byte, string), want map[byte]string) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil { // else a failure would hang
		t.Fatal(err)
	}
	got := make(map[byte]string)
	for !maps.Equal(got, want) {
		var m []byte
		if err := websocket.Message.Receive(conn, &m); err != nil {
			t.Fatalf("got %q, want %q: %v", got, want, err)
		}
		channel, text := decode(m)
		got[channel] += text
	}
}

// TestPortForwardChannels forwards ports by the first protocol, in which the
// request names them: two that answer and one, between them, that refuses.
func TestPortForwardChannels(t *testing.T) {
	t.Parallel()
	c := start(t, newNode(t))
	c.runPod("web", "main")
	pod, err := c.clientset("").CoreV1().Pods("default").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const answers, refuses = "\x50\x00", "\x90\x1f"
	refusal := fmt.Sprintf("error forwarding port 8080 to pod web, uid %s: Internal error occurred: connection to port 8080 refused", pod.UID)
	for _, protocol := range []string{"", "v4.channel.k8s.io", "v4.base64.channel.k8s.io"} {
		t.Run(protocol, func(t *testing.T) {
			encode := func(channel byte, text string) any { return append([]byte{channel}, text...) }
			decode := func(m []byte) (byte, string) { return m[0], string(m[1:]) }
			if strings.Contains(protocol, "base64") {
				encode = func(channel byte, text string) any {
					return string('0'+rune(channel)) + base64.StdEncoding.EncodeToString([]byte(text))
				}
				decode = func(m []byte) (byte, string) {
					text, err := base64.StdEncoding.DecodeString(string(m[1:]))
					if err != nil {
						t.Fatal(err)
					}
					return m[0] - '0', string(text)
				}
			}
			conn := c.dialWebSocket("web", "portforward", url.Values{"ports": {"80,8080", "80"}}, protocol)
			received(t, conn, decode, map[byte]string{0: answers, 1: answers, 2: refuses, 3: refuses + refusal, 4: answers, 5: answers})
			for channel, text := range map[byte]string{0: "one", 2: "nobody hears this", 4: "two"} {
				if err := websocket.Message.Send(conn, encode(channel, text)); err != nil {
					t.Fatal(err)
				}
			}
			received(t, conn, decode, map[byte]string{0: "ONE", 4: "TWO"})
		})
	}
}

// TestPortForwardNeedsPorts asks for none, or for what is none.
func TestPortForwardNeedsPorts(t *testing.T) {
	t.Parallel()
	c := start(t, newNode(t))
	c.runPod("web", "main")
	for ports, want := range map[string]string{
		"":                               `query parameter \"ports\" is required`,
		"ports=":                         `\"\" is not a port`,
		"ports=80,0":                     `\"0\" is not a port`,
		"ports=65536":                    `\"65536\" is not a port`,
		"ports=http":                     `\"http\" is not a port`,
		strings.Repeat("&ports=80", 105): "must name at most 104 ports, but has 105",
	} {
		got := c.do(c.http("admin"), "GET", "/api/v1/namespaces/default/pods/web/portforward?"+strings.TrimPrefix(ports, "&"), nil,
			"Connection", "Upgrade", "Upgrade", "websocket", "Sec-Websocket-Version", "13", "Sec-Websocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
		if got.code != http.StatusBadRequest || !strings.Contains(got.body, want) {
			t.Errorf("%q: %d %s", ports, got.code, got.body)
		}
	}
}
