// Package extension calls API servers that serve a part of the cluster's API:
// those that APIServices name. They run behind Services, which are reached
// through the agents of the pods' nodes, and know from the certificate of the
// front proxy that what a request says about its user is true.
package extension

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"google.golang.org/grpc/metadata"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/transport"
	registrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/podconn"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

const (
	handshakeTimeout = 10 * time.Second
	idleTimeout      = 90 * time.Second
	// idleConns is how many connections to a server are kept for later.
	idleConns   = 25
	defaultPort = 443
)

// Aggregator is who the cluster's own services are to other API servers.
var Aggregator = identity.Identity{Name: "system:kube-aggregator", Groups: []string{identity.GroupMasters}}

// ServiceDialer connects to a port of one of a Service's endpoints.
type ServiceDialer interface {
	DialService(ctx context.Context, namespace, name string, port int32) (net.Conn, error)
}

// Services is a ServiceDialer that has the Store locate an endpoint, and reaches
// pods through their agents. It acts as itself, whomever the context is about.
type Services struct {
	Store  storev1.StoreServiceClient
	Agents podconn.AgentDialer
}

// DialService implements ServiceDialer.
func (s Services) DialService(ctx context.Context, namespace, name string, port int32) (net.Conn, error) {
	ctx = metadata.NewOutgoingContext(ctx, metadata.MD{})
	found, err := s.Store.Locate(ctx, &storev1.LocateRequest{Namespace: namespace, Service: name, Port: port})
	if err != nil {
		return nil, apistatus.FromGRPC(err)
	}
	return podconn.DialLocated(ctx, s.Agents, namespace, found)
}

// Connector makes transports to API servers.
type Connector struct {
	Services ServiceDialer
	// Certificate returns the front proxy's certificate, nil if it has none. It is
	// called for every connection, so that a renewed one is taken up.
	Certificate func() *tls.Certificate
}

// Transport returns a transport to the server that an APIService names. It
// speaks HTTP/1.1, so that requests spread over several endpoints.
func (c Connector) Transport(spec *registrationv1.APIServiceSpec) (*http.Transport, error) {
	if spec.Service == nil {
		return nil, errors.New("the API is served by the cluster itself")
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		ServerName:         spec.Service.Name + "." + spec.Service.Namespace + ".svc",
		InsecureSkipVerify: spec.InsecureSkipTLSVerify, //nolint:gosec // its author has asked for it
	}
	if len(spec.CABundle) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(spec.CABundle) {
			return nil, errors.New("unable to load root certificates: unable to parse bytes as PEM block")
		}
	}
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if c.Certificate != nil {
			if own := c.Certificate(); own != nil {
				return own, nil
			}
		}
		return &tls.Certificate{}, nil
	}
	service := *spec.Service
	return &http.Transport{
		TLSClientConfig: config, TLSHandshakeTimeout: handshakeTimeout, DisableCompression: true,
		MaxIdleConnsPerHost: idleConns, IdleConnTimeout: idleTimeout,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return c.Services.DialService(ctx, service.Namespace, service.Name, ptr.Deref(service.Port, defaultPort))
		},
	}, nil
}

// Host is the host in the URLs of requests to the server that an APIService
// names.
func Host(spec *registrationv1.APIServiceSpec) string {
	name := spec.Service.Name + "." + spec.Service.Namespace + ".svc"
	return net.JoinHostPort(name, strconv.Itoa(int(ptr.Deref(spec.Service.Port, defaultPort))))
}

// Path is the path of an API's version.
func Path(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "/api/" + gv.Version
	}
	return "/apis/" + gv.Group + "/" + gv.Version
}

// Identify says in a request's headers, and nowhere else, for whom it is.
func Identify(r *http.Request, user identity.Identity) {
	transport.SetAuthProxyHeaders(r, user.Name, user.UID, user.Groups, user.Extra)
}

// NewRequest returns a GET of a path for the cluster itself.
func NewRequest(ctx context.Context, spec *registrationv1.APIServiceSpec, path string) (*http.Request, error) {
	target := url.URL{Scheme: "https", Host: Host(spec), Path: path}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", target.Host, err)
	}
	Identify(r, Aggregator)
	return r, nil
}
