package upgrade

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// errAnswered says that an upgrade failed and the client was told why.
var errAnswered = errors.New("the upgrade failed and was answered")

// clientStreams are the streams of one exec or attach, over whichever
// protocol. Those that were not asked for are nil.
type clientStreams struct {
	stdin, resize  io.Reader
	stdout, stderr io.Writer
	// failure takes what says how it ended: a Status or, inWords, the message of a
	// failure.
	failure io.Writer
	inWords bool
	// awaitClose returns once the connection is closed.
	awaitClose func()
	close      func()
}

// write passes a process's output on.
func (s *clientStreams) write(out output) error {
	if b := out.GetStdout(); len(b) > 0 && s.stdout != nil {
		if _, err := s.stdout.Write(b); err != nil {
			return fmt.Errorf("write standard output: %w", err)
		}
	}
	if b := out.GetStderr(); len(b) > 0 && s.stderr != nil {
		if _, err := s.stderr.Write(b); err != nil {
			return fmt.Errorf("write standard error: %w", err)
		}
	}
	return nil
}

// end tells the client how the process ended. The client may have gone.
func (s *clientStreams) end(status *metav1.Status) {
	if s.inWords {
		if status.Status != metav1.StatusSuccess {
			_, _ = io.WriteString(s.failure, status.Message)
		}
		return
	}
	if body, err := json.Marshal(status); err == nil {
		_, _ = s.failure.Write(body)
	}
}

// openStreams turns a request into the streams that start asks for.
func openStreams(w http.ResponseWriter, r *http.Request, start *nodev1.ExecStart) (*clientStreams, error) {
	switch {
	case wsstream.IsWebSocketRequest(r):
		return upgradeWebSocket(w, r, start)
	case httpstream.IsUpgradeRequest(r):
		return upgradeSPDY(w, r, start)
	}
	return nil, apierrors.NewBadRequest("Upgrade request required")
}

// The numbers of the channels on a WebSocket.
const (
	channelStdin = iota
	channelStdout
	channelStderr
	channelError
	channelResize
	channelCount
)

// The protocols of WebSockets before version 4, in which only a failure is told of,
// in its own words. The first is that of clients who name none.
const (
	firstProtocol       = ""
	firstProtocolBinary = "channel.k8s.io"
	firstProtocolBase64 = "base64.channel.k8s.io"
)

// fourthProtocolBase64 is version 4 in text.
const fourthProtocolBase64 = "v4.base64.channel.k8s.io"

// upgradeWebSocket serves the channel protocols: versions 4 and 5, and those
// before.
func upgradeWebSocket(w http.ResponseWriter, r *http.Request, start *nodev1.ExecStart) (*clientStreams, error) {
	channels := make([]wsstream.ChannelType, channelCount)
	use := func(wanted bool, channel int, kind wsstream.ChannelType) {
		if wanted {
			channels[channel] = kind
		}
	}
	use(start.GetStdin(), channelStdin, wsstream.ReadChannel)
	use(start.GetStdout(), channelStdout, wsstream.WriteChannel)
	use(start.GetStderr(), channelStderr, wsstream.WriteChannel)
	// Nobody sends on the error channel; reading it shows when the client goes.
	use(true, channelError, wsstream.ReadWriteChannel)
	use(start.GetTty(), channelResize, wsstream.ReadChannel)
	conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{
		remotecommand.StreamProtocolV5Name: {Binary: true, Channels: channels},
		remotecommand.StreamProtocolV4Name: {Binary: true, Channels: channels},
		fourthProtocolBase64:               {Binary: false, Channels: channels},
		firstProtocol:                      {Binary: true, Channels: channels},
		firstProtocolBinary:                {Binary: true, Channels: channels},
		firstProtocolBase64:                {Binary: false, Channels: channels},
	})
	conn.SetIdleTimeout(idleTimeout)
	// The library logs as an error that a connection ends; it has to.
	protocol, streams, err := conn.Open(w, r.WithContext(klog.NewContext(r.Context(), klog.Logger{})))
	if err != nil {
		return nil, errAnswered
	}
	s := &clientStreams{failure: streams[channelError]}
	switch protocol {
	case firstProtocol, firstProtocolBinary, firstProtocolBase64:
		s.inWords = true
	}
	s.awaitClose = func() { _, _ = io.Copy(io.Discard, streams[channelError]) }
	s.close = func() { _ = conn.Close() } // it is over either way
	if start.GetStdin() {
		s.stdin = streams[channelStdin]
	}
	if start.GetStdout() {
		s.stdout = streams[channelStdout]
	}
	if start.GetStderr() {
		s.stderr = streams[channelStderr]
	}
	if start.GetTty() {
		s.resize = streams[channelResize]
	}
	return s, nil
}

// opened is a SPDY stream that the client opened.
type opened struct {
	httpstream.Stream
	replied <-chan struct{}
}

// upgradeSPDY serves the older protocol: one SPDY stream for each.
func upgradeSPDY(w http.ResponseWriter, r *http.Request, start *nodev1.ExecStart) (*clientStreams, error) {
	protocols := []string{remotecommand.StreamProtocolV5Name, remotecommand.StreamProtocolV4Name}
	if _, err := httpstream.Handshake(r, w, protocols); err != nil {
		return nil, errAnswered
	}
	wanted := map[string]bool{corev1.StreamTypeError: true}
	for kind, want := range map[string]bool{
		corev1.StreamTypeStdin: start.GetStdin(), corev1.StreamTypeStdout: start.GetStdout(),
		corev1.StreamTypeStderr: start.GetStderr(), corev1.StreamTypeResize: start.GetTty(),
	} {
		if want {
			wanted[kind] = true
		}
	}
	arrived := make(chan opened, len(wanted))
	var mu sync.Mutex
	missing := len(wanted)
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, replied <-chan struct{}) error {
		mu.Lock()
		defer mu.Unlock()
		kind := s.Headers().Get(corev1.StreamType)
		if !wanted[kind] || missing == 0 {
			return fmt.Errorf("a stream of type %q was not asked for", kind)
		}
		wanted[kind] = false
		missing--
		arrived <- opened{s, replied}
		return nil
	})
	if conn == nil {
		return nil, errAnswered
	}
	conn.SetIdleTimeout(idleTimeout)
	s, err := collect(conn, arrived, cap(arrived))
	if err != nil {
		_ = conn.Close()
		return nil, errAnswered
	}
	return s, nil
}

// collect waits until the client has opened its streams.
func collect(conn httpstream.Connection, arrived <-chan opened, count int) (*clientStreams, error) {
	s := &clientStreams{awaitClose: func() { <-conn.CloseChan() }}
	var all []httpstream.Stream
	s.close = func() {
		for _, stream := range all {
			_ = stream.Close() // sends what is written; the peer may have gone
		}
		_ = conn.Close()
	}
	timeout := time.NewTimer(setupTimeout)
	defer timeout.Stop()
	for range count {
		select {
		case o := <-arrived:
			<-o.replied
			all = append(all, o.Stream)
			s.take(o.Stream)
		case <-conn.CloseChan():
			return nil, errors.New("the client has gone")
		case <-timeout.C:
			return nil, errors.New("the client did not open its streams")
		}
	}
	return s, nil
}

func (s *clientStreams) take(stream httpstream.Stream) {
	switch stream.Headers().Get(corev1.StreamType) {
	case corev1.StreamTypeError:
		s.failure = stream
	case corev1.StreamTypeStdin:
		s.stdin = stream
	case corev1.StreamTypeStdout:
		s.stdout = stream
	case corev1.StreamTypeStderr:
		s.stderr = stream
	case corev1.StreamTypeResize:
		s.resize = stream
	}
}
