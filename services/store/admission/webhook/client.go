package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	reviewv1 "k8s.io/api/admission/v1"
	reviewv1beta1 "k8s.io/api/admission/v1beta1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

const (
	// dialTimeout, handshakeTimeout and idleTimeout are those of connections to
	// hooks.
	dialTimeout      = 30 * time.Second
	handshakeTimeout = 10 * time.Second
	idleTimeout      = 90 * time.Second
	// idlePerHook is how many connections to a hook are kept for later.
	idlePerHook = 25
	// maxAnswer is the most that an answer may hold: a patch can replace an
	// object, in base64, and warnings come with it.
	maxAnswer = 16 << 20
)

// client calls hooks at one place.
type client struct {
	rest      *rest.RESTClient
	transport *http.Transport
}

// clients keeps one client per place and authority, so that their connections
// are used again.
type clients struct {
	services ServiceDialer
	codec    runtime.NegotiatedSerializer

	mu   sync.Mutex // guards made
	made map[string]*client
}

func newClients(services ServiceDialer) *clients {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(reviewv1.SchemeGroupVersion, &reviewv1.AdmissionReview{})
	scheme.AddKnownTypes(reviewv1beta1.SchemeGroupVersion, &reviewv1beta1.AdmissionReview{})
	return &clients{
		services: services, made: make(map[string]*client),
		codec: serializer.NegotiatedSerializerWrapper(runtime.SerializerInfo{
			Serializer: serializer.NewCodecFactory(scheme).LegacyCodec(reviewv1.SchemeGroupVersion, reviewv1beta1.SchemeGroupVersion),
		}),
	}
}

// get returns the client of a configuration, new or kept.
func (c *clients) get(config *admissionv1.WebhookClientConfig) (*client, error) {
	key, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if have := c.made[string(key)]; have != nil {
		return have, nil
	}
	made, err := c.connect(config)
	if err == nil {
		c.made[string(key)] = made
	}
	return made, err
}

// keep closes the clients that no hook uses any longer.
func (c *clients) keep(hooks []*hook) {
	used := make(map[*client]bool)
	for _, h := range hooks {
		used[h.client] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, made := range c.made {
		if !used[made] {
			delete(c.made, key)
			made.transport.CloseIdleConnections()
		}
	}
}

func (c *clients) connect(config *admissionv1.WebhookClientConfig) (*client, error) {
	security, err := tlsConfig(config.CABundle)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		TLSClientConfig: security, TLSHandshakeTimeout: handshakeTimeout,
		MaxIdleConnsPerHost: idlePerHook, IdleConnTimeout: idleTimeout,
	}
	at := &rest.Config{QPS: -1, ContentConfig: rest.ContentConfig{NegotiatedSerializer: c.codec, ContentType: runtime.ContentTypeJSON}}
	switch {
	case config.Service != nil:
		c.toService(transport, at, config.Service)
	case config.URL != nil:
		u, err := url.Parse(*config.URL)
		if err != nil {
			return nil, fmt.Errorf("unparsable URL: %w", err)
		}
		at.Host, at.APIPath = u.Scheme+"://"+u.Host, u.Path
		transport.Proxy = http.ProxyFromEnvironment
		transport.DialContext = (&net.Dialer{Timeout: dialTimeout}).DialContext
	default:
		return nil, errors.New("webhook configuration must have either service or URL")
	}
	client := &client{transport: transport}
	client.rest, err = rest.UnversionedRESTClientForConfigAndClient(at, &http.Client{Transport: bounded{transport}})
	return client, err
}

// toService makes a transport reach one of a Service's endpoints.
func (c *clients) toService(transport *http.Transport, at *rest.Config, service *admissionv1.ServiceReference) {
	name := service.Name + "." + service.Namespace + ".svc"
	port := ptr.Deref(service.Port, 443)
	at.Host, at.APIPath = "https://"+net.JoinHostPort(name, strconv.Itoa(int(port))), ptr.Deref(service.Path, "")
	transport.TLSClientConfig.ServerName = name
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return c.services.DialService(ctx, service.Namespace, service.Name, port)
	}
}

// tlsConfig trusts the authorities of a bundle, those of this machine if there
// is none. Connections are HTTP/1.1, so that they spread over several servers.
func tlsConfig(bundle []byte) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	if len(bundle) == 0 {
		return config, nil
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(bundle) {
		return nil, errors.New("unable to load root certificates: unable to parse bytes as PEM block")
	}
	return config, nil
}

// bounded is a transport that reads no more of an answer than it may hold.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if resp != nil {
		resp.Body = &boundedBody{ReadCloser: resp.Body, left: maxAnswer}
	}
	return resp, err
}

type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("the response is larger than %d bytes", maxAnswer)
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// post asks a question and returns the answer.
func (c *client) post(ctx context.Context, q *review) (*reviewv1.AdmissionReview, error) {
	request := c.rest.Post().SetHeader("Content-Type", runtime.ContentTypeJSON).Body(q.body)
	if deadline, ok := ctx.Deadline(); ok {
		if left := time.Until(deadline); left > 0 {
			request.Timeout((left + time.Second - 1).Truncate(time.Second)) // told to the hook
		}
	}
	result := request.Do(ctx)
	if q.version == reviewv1.SchemeGroupVersion {
		answer := &reviewv1.AdmissionReview{}
		return answer, result.Into(answer)
	}
	old := &reviewv1beta1.AdmissionReview{}
	if err := result.Into(old); err != nil {
		return nil, err
	}
	body, err := json.Marshal(old)
	if err != nil {
		return nil, err
	}
	answer := &reviewv1.AdmissionReview{}
	return answer, json.Unmarshal(body, answer)
}
