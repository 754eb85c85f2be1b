package podstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/proxy"

	"navarch.dev/navarch/gateway/attributes"
	"navarch.dev/navarch/gateway/reply"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/podconn"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// dialTimeout is the longest wait for a connection to what is proxied to.
const dialTimeout = 30 * time.Second

// ProxyTarget is what a proxied request's path names.
type ProxyTarget struct {
	Namespace string
	// Resource is "pods", "services" or "nodes".
	Resource, Name string
	// Scheme is "http" or "https".
	Scheme string
	// Port is a number or a Service's port's name; empty is the default.
	Port string
	// Path is the escaped rest of the path, with its first slash.
	Path string
}

// Proxy passes a request on to a pod, or to one behind a Service, through the
// agent of its node: the pods' network need not reach to the gateway. What a
// node itself shows its agent answers.
func (c *Connector) Proxy(w http.ResponseWriter, r *http.Request, t ProxyTarget) {
	ctx, cancel := c.untilStopped(r.Context())
	defer cancel()
	found, err := c.locate(ctx, r.Method, t)
	if err != nil {
		reply.Error(w, r, err)
		return
	}
	if t.Resource == "nodes" {
		c.nodePage(w, r.WithContext(ctx), t, found)
		return
	}
	host := net.JoinHostPort(found.GetTargetAddress(), strconv.Itoa(int(found.GetTargetPort())))
	location, err := url.Parse(t.Scheme + "://" + host + t.Path)
	if err != nil {
		reply.Error(w, r, apierrors.NewBadRequest(fmt.Sprintf("the proxied path is invalid: %v", err)))
		return
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx, found) },
		// As with every client of a pod's own certificate, nobody vouches for it.
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
		DisableKeepAlives: true, DisableCompression: true,
	}
	handler := proxy.NewUpgradeAwareHandler(location, transport, true, false, responder{})
	handler.ServeHTTP(w, withoutCredentials(r.WithContext(ctx)))
}

// responder answers with a Status what went wrong with a proxied request.
type responder struct{}

func (responder) Error(w http.ResponseWriter, r *http.Request, err error) {
	var known apierrors.APIStatus
	if !errors.As(err, &known) {
		err = apierrors.NewServiceUnavailable(fmt.Sprintf("error trying to reach service: %v", err))
	}
	reply.Error(w, r, err)
}

// withoutCredentials returns a request that does not tell the program behind
// the proxy how to act as the user.
func withoutCredentials(r *http.Request) *http.Request {
	r = r.Clone(r.Context())
	for name := range r.Header {
		if name == "Authorization" || strings.HasPrefix(name, "Impersonate-") {
			r.Header.Del(name)
		}
	}
	return r
}

// locate asks the Store whether the user may do this, and where it goes.
func (c *Connector) locate(ctx context.Context, method string, t ProxyTarget) (*storev1.ConnectResponse, error) {
	ctx, span := c.Tracer.Start(ctx, "gateway.proxy "+t.Resource, trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.String("k8s.namespace.name", t.Namespace), attribute.String("navarch.proxied", t.Name)))
	defer span.End()
	var options runtime.Object = &corev1.PodProxyOptions{Path: t.Path}
	if t.Resource == "services" {
		options = &corev1.ServiceProxyOptions{Path: t.Path}
	}
	encoded, err := kinds.Encode(options)
	if err != nil {
		return nil, err
	}
	return c.Store.Connect(ctx, &storev1.ConnectRequest{
		Resource:  &storev1.Resource{Version: "v1", Resource: t.Resource},
		Namespace: t.Namespace, Name: t.Name, Subresource: "proxy", Verb: attributes.VerbOf(method), Port: t.Port,
		Options: encoded,
	})
}

// dial connects to the located port: within the pod if there is one, from here
// to endpoints that are no pods.
func (c *Connector) dial(ctx context.Context, found *storev1.ConnectResponse) (net.Conn, error) {
	if found.GetNodeName() == "" {
		return dialOutside(ctx, found)
	}
	pod := &corev1.Pod{}
	if err := kinds.Decode(found.GetObject().GetObject(), pod); err != nil {
		return nil, fmt.Errorf("read the pod to connect to: %w", err)
	}
	_, node, err := c.node(ctx, podTarget{pod: pod, endpoint: found.GetNodeEndpoint()})
	if err != nil {
		return nil, err
	}
	return podconn.Dial(ctx, node, &nodev1.PortForwardStart{
		Namespace: pod.Namespace, Pod: pod.Name, Port: found.GetTargetPort(), Address: found.GetTargetAddress(),
	}), nil
}

// dialOutside refuses addresses that mean this machine or its link, as every
// user who may make Endpoints could otherwise reach them.
func dialOutside(ctx context.Context, found *storev1.ConnectResponse) (net.Conn, error) {
	ip := net.ParseIP(found.GetTargetAddress())
	if ip == nil || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() {
		return nil, apierrors.NewBadRequest("address not allowed")
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(ip.String(), strconv.Itoa(int(found.GetTargetPort()))))
}
