package upgrade

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"navarch.dev/navarch/internal/podconn"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// maxPorts is how many ports a request may name: a channel's number is a byte, in
// the Base64 protocol one that begins at '0', and each port has two.
const maxPorts = (256 - '0') / 2

// Ports returns the ports that a request for a port-forward names in a query
// parameter.
func Ports(query url.Values, parameter string) ([]int32, error) {
	var ports []int32
	for _, value := range query[parameter] {
		for port := range strings.SplitSeq(value, ",") {
			n, err := strconv.ParseUint(port, 10, 16)
			if err != nil || n == 0 {
				return nil, apierrors.NewBadRequest(fmt.Sprintf("query parameter %q: %q is not a port from 1 to 65535", parameter, port))
			}
			ports = append(ports, int32(n))
		}
	}
	if len(ports) > maxPorts {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("query parameter %q: must name at most %d ports, but has %d", parameter, maxPorts, len(ports)))
	}
	return ports, nil
}

// forwardChannels serves the first protocol of port-forwards over a WebSocket:
// one connection to each port that the request names. Port n has channel 2n for
// data, both ways, and 2n+1 for words about a failure. The first message on
// either is the port, two bytes, the lower one first.
func forwardChannels(w http.ResponseWriter, r *http.Request, t Forward, dial Dial) error {
	ports := t.Ports
	if len(ports) == 0 {
		return apierrors.NewBadRequest(fmt.Sprintf("query parameter %q is required", t.Parameter))
	}
	ctx, node, err := dial(r.Context())
	if err != nil {
		return err
	}
	var channels []wsstream.ChannelType
	for range ports {
		channels = append(channels, wsstream.ReadWriteChannel, wsstream.WriteChannel)
	}
	conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{
		firstProtocol:                      {Binary: true, Channels: channels},
		remotecommand.StreamProtocolV4Name: {Binary: true, Channels: channels},
		fourthProtocolBase64:               {Binary: false, Channels: channels},
	})
	conn.SetIdleTimeout(idleTimeout)
	// The library logs as an error that a connection ends; it has to.
	_, streams, err := conn.Open(w, r.WithContext(klog.NewContext(r.Context(), klog.Logger{})))
	if err != nil {
		return nil // it was answered
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	var wg sync.WaitGroup
	for i, port := range ports {
		f := channelForward{Forward: t, node: node, port: uint32(port), data: streams[2*i], failure: streams[2*i+1]}
		wg.Go(func() { f.run(ctx, cancel) })
	}
	wg.Wait()
	return nil
}

// channelForward is one port of a WebSocket.
type channelForward struct {
	Forward
	node          nodev1.NodeServiceClient
	port          uint32
	data, failure io.ReadWriteCloser
}

// run joins the port to its channels until the pod's side has closed, or the
// client has gone, which gone is to be told of.
func (f *channelForward) run(ctx context.Context, gone context.CancelFunc) {
	data := &untilGone{ReadWriter: f.data, gone: gone}
	defer func() { // frees who writes what the client sends on
		data.ended.Store(true)
		_ = f.data.Close()
		_ = f.failure.Close()
	}()
	prefix := binary.LittleEndian.AppendUint16(nil, uint16(f.port))
	for _, channel := range []io.Writer{data, f.failure} {
		if _, err := channel.Write(prefix); err != nil {
			gone()
			return
		}
	}
	pod := f.Pod
	start := &nodev1.PortForwardStart{Namespace: pod.Namespace, Pod: pod.Name, Port: f.port}
	err := podconn.Join(ctx, f.node, start, data)
	if err == nil || ctx.Err() != nil {
		return
	}
	f.Log.InfoContext(ctx, "port-forward failed", "namespace", pod.Namespace, "pod", pod.Name, "port", f.port, "error", err)
	_, _ = io.WriteString(f.failure, failureOf(pod, f.port, err))
}

// untilGone is a channel that tells when the client has gone: nobody can close
// only one side of a channel.
type untilGone struct {
	io.ReadWriter
	gone context.CancelFunc
	// ended says that the pod's side has closed: then the channel ends too.
	ended atomic.Bool
}

// Read implements io.Reader.
func (u *untilGone) Read(b []byte) (int, error) {
	n, err := u.ReadWriter.Read(b)
	if err != nil && !u.ended.Load() {
		u.gone()
	}
	return n, err
}
