package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// maxOutput bounds what is kept of a probe's output.
const maxOutput = 10 << 10

// Target is a container that can be probed. It implements Checker.
type Target struct {
	// PodIP is where HTTP, TCP and gRPC probes go.
	PodIP string
	// Ports are the container's, for ports by name.
	Ports []corev1.ContainerPort
	// Exec runs a command in the container.
	Exec func(ctx context.Context, command []string, output io.Writer) (exitCode int, err error)
}

// Check runs a probe once.
func (t Target) Check(ctx context.Context, p *corev1.Probe) (Verdict, string) {
	switch {
	case p.Exec != nil:
		return verdict(t.exec(ctx, p.Exec.Command))
	case p.HTTPGet != nil:
		return t.httpGet(ctx, p.HTTPGet)
	case p.TCPSocket != nil:
		return verdict(t.tcp(ctx, p.TCPSocket))
	case p.GRPC != nil:
		return verdict(t.grpc(ctx, p.GRPC))
	}
	return Failed, "the probe has no handler"
}

func verdict(ok bool, output string) (Verdict, string) {
	if ok {
		return Succeeded, output
	}
	return Failed, output
}

func (t Target) exec(ctx context.Context, command []string) (bool, string) {
	out := &limitedBuffer{}
	code, err := t.Exec(ctx, command, out)
	if ctx.Err() != nil {
		return false, "command timed out: " + strings.Join(command, " ")
	}
	if err != nil {
		return false, err.Error()
	}
	return code == 0, out.String()
}

// HTTPGet makes the request of an HTTP handler, of a probe or a hook.
func (t Target) HTTPGet(ctx context.Context, h *corev1.HTTPGetAction) (status int, body string, err error) {
	port, err := t.port(h.Port)
	if err != nil {
		return 0, "", err
	}
	host := h.Host
	if host == "" {
		host = t.PodIP
	}
	scheme := strings.ToLower(string(h.Scheme))
	if scheme == "" {
		scheme = "http"
	}
	u, err := url.Parse(h.Path)
	if err != nil {
		u = &url.URL{Path: h.Path}
	}
	u.Scheme, u.Host = scheme, net.JoinHostPort(host, strconv.Itoa(port))
	if !strings.HasPrefix(u.Path, "/") {
		u.Path = "/" + u.Path
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return 0, "", fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("User-Agent", "kube-probe/1.37")
	req.Header.Set("Accept", "*/*")
	for _, kv := range h.HTTPHeaders {
		if strings.EqualFold(kv.Name, "Host") {
			req.Host = kv.Value
			continue
		}
		req.Header.Add(kv.Name, kv.Value)
	}
	resp, err := probeClient(host).Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxOutput))
	if err != nil {
		return 0, "", fmt.Errorf("read the answer: %w", err)
	}
	return resp.StatusCode, string(b), nil
}

// probeClient asks the container itself: no proxy, no kept connection, no
// check of its certificate, and no redirect to another host.
func probeClient(host string) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true, DisableCompression: true,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // a probe asks whether it answers, not who
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if req.URL.Hostname() != host || len(via) >= 10 {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
}

// httpGet takes a redirect that is not followed for an answer.
func (t Target) httpGet(ctx context.Context, h *corev1.HTTPGetAction) (Verdict, string) {
	status, body, err := t.HTTPGet(ctx, h)
	switch {
	case err != nil:
		return Failed, err.Error()
	case status >= 200 && status < 300:
		return Succeeded, body
	case status >= 300 && status < 400:
		return Warned, "Probe terminated redirects, Response body: " + body
	}
	return Failed, fmt.Sprintf("HTTP probe failed with statuscode: %d", status)
}

func (t Target) tcp(ctx context.Context, h *corev1.TCPSocketAction) (bool, string) {
	port, err := t.port(h.Port)
	if err != nil {
		return false, err.Error()
	}
	host := h.Host
	if host == "" {
		host = t.PodIP
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return false, err.Error()
	}
	_ = conn.Close() // it was opened, which is the answer
	return true, ""
}

func (t Target) grpc(ctx context.Context, h *corev1.GRPCAction) (bool, string) {
	conn, err := grpc.NewClient("passthrough:///"+net.JoinHostPort(t.PodIP, strconv.Itoa(int(h.Port))),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		return false, err.Error()
	}
	defer conn.Close()
	req := &healthv1.HealthCheckRequest{}
	if h.Service != nil {
		req.Service = *h.Service
	}
	resp, err := healthv1.NewHealthClient(conn).Check(ctx, req)
	if err != nil {
		return false, err.Error()
	}
	if s := resp.GetStatus(); s != healthv1.HealthCheckResponse_SERVING {
		return false, fmt.Sprintf("service unhealthy (responded with %q)", s.String())
	}
	return true, "service healthy"
}

func (t Target) port(p intstr.IntOrString) (int, error) {
	n := p.IntValue()
	if p.Type == intstr.String {
		for _, cp := range t.Ports {
			if cp.Name == p.StrVal {
				n = int(cp.ContainerPort)
			}
		}
	}
	if n <= 0 || n > 65535 {
		return 0, fmt.Errorf("invalid port number: %s", p.String())
	}
	return n, nil
}

// limitedBuffer keeps the beginning of what is written to it.
type limitedBuffer struct{ buf bytes.Buffer }

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if room := maxOutput - b.buf.Len(); room > 0 {
		b.buf.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (b *limitedBuffer) String() string { return b.buf.String() }

var _ Checker = Target{}
