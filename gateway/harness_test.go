package gateway_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"navarch.dev/navarch/gateway"
	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/storetest"

	"github.com/fullstorydev/grpchan/inprocgrpc"
)

// cluster is a gateway before a Store in this process.
type cluster struct {
	t         testing.TB
	store     *storetest.Store
	health    *health.Server
	authority *certs.Authority
	address   string
}

// allow lets everybody do everything, but strangers.
type allow struct{}

func (allow) Authorize(_ context.Context, a access.Attributes) (access.Decision, error) {
	if a.Group == "authorization.k8s.io" {
		return access.Decision{Allowed: true}, nil
	}
	return access.Decision{Allowed: a.User.Name != "stranger" && a.User.Name != identity.Anonymous}, nil
}

func (allow) Review(_ context.Context, user identity.Identity, _ *kinds.Kind, _ string, obj kinds.Object) error {
	switch review := obj.(type) {
	case *authorizationv1.SelfSubjectAccessReview:
		review.Status.Allowed = user.Name != "stranger"
	case *authenticationv1.TokenReview:
		if review.Status.Authenticated = review.Spec.Token == "good"; review.Status.Authenticated {
			review.Status.User.Username = "robot"
		}
	}
	return nil
}

// AuthenticateToken knows one token.
func (allow) AuthenticateToken(_ context.Context, token string, _ []string) (identity.Identity, bool, error) {
	return identity.Identity{Name: "robot", Groups: []string{identity.GroupAuthenticated}}, token == "good", nil
}

// joined sends health calls to one server and everything else to another.
type joined struct {
	grpc.ClientConnInterface
	health *inprocgrpc.Channel
}

func (j joined) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	if method == healthv1.Health_Check_FullMethodName {
		return j.health.Invoke(ctx, method, args, reply, opts...)
	}
	return j.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
}

// noNodes is a cluster without agents.
type noNodes struct{}

func (noNodes) Dial(context.Context, string, string) (grpc.ClientConnInterface, error) {
	return nil, errors.New("there are no agents here")
}

// start runs a gateway until the test ends.
func start(t testing.TB, nodes gateway.NodeDialer, change ...func(*gateway.Config)) *cluster {
	t.Helper()
	c := newCluster(t)
	c.serve(nodes, change...)
	return c
}

// newCluster returns a cluster whose gateway does not run yet.
func newCluster(t testing.TB, opts ...storetest.Option) *cluster {
	t.Helper()
	authority, err := certs.LoadOrCreate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, authority: authority, health: health.NewServer()}
	c.store = newStore(t, opts...)
	return c
}

func newStore(t testing.TB, opts ...storetest.Option) *storetest.Store {
	t.Helper()
	return storetest.New(t, append(opts, storetest.WithControl(func(access.Reader) (access.Control, error) {
		return access.Control{Authorizer: allow{}, Reviewer: allow{}, Authenticator: allow{}, Impersonator: allow{}, Documents: map[string]access.Document{
			"/openid/v1/jwks": {ContentType: "application/jwk-set+json", Content: []byte(`{"keys":[]}`)},
		}}, nil
	}))...)
}

// serve runs the cluster's gateway until stop is called or the test ends.
func (c *cluster) serve(nodes gateway.NodeDialer, change ...func(*gateway.Config)) (stop func()) {
	c.t.Helper()
	healthChannel := &inprocgrpc.Channel{}
	healthv1.RegisterHealthServer(healthChannel, c.health)

	serving := c.certificate(identity.Service(identity.Gateway))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	c.address = "https://" + listener.Addr().String()
	cfg := gateway.DefaultConfig()
	cfg.Listener, cfg.ClientCAs = listener, c.authority.Pool
	cfg.Certificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return serving, nil }
	for _, f := range change {
		f(&cfg)
	}
	conn := joined{c.store.Conn(identity.Service(identity.Gateway)), healthChannel}
	g, err := gateway.New(cfg, telemetry.Discard("gateway"), conn, nodes)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Errorf("the gateway ended: %v", err)
		}
	})
	c.t.Cleanup(stop)
	return stop
}

func (c *cluster) certificate(id identity.Identity) *tls.Certificate {
	c.t.Helper()
	pair, err := c.authority.Issue(certs.Request{Identity: id, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	if err != nil {
		c.t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		c.t.Fatal(err)
	}
	return &cert
}

// config returns a client's configuration as a user with a certificate.
func (c *cluster) config(user string) *rest.Config {
	c.t.Helper()
	pair, err := c.authority.Issue(certs.Request{Identity: identity.Identity{Name: user, Groups: []string{"testers"}}})
	if err != nil {
		c.t.Fatal(err)
	}
	return &rest.Config{
		Host: c.address, QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{CAData: c.authority.CertPEM(), CertData: pair.Cert, KeyData: pair.Key},
	}
}

// clientset returns a typed client that speaks the given media type.
func (c *cluster) clientset(contentType string) *kubernetes.Clientset {
	c.t.Helper()
	cfg := c.config("admin")
	cfg.ContentType, cfg.AcceptContentTypes = contentType, contentType+",application/json"
	cs, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	return cs
}

// tls is the configuration of a user's connections; "" is nobody.
func (c *cluster) tls(user string) *tls.Config {
	config := &tls.Config{RootCAs: c.authority.Pool()}
	if user != "" {
		config.Certificates = []tls.Certificate{*c.certificate(identity.Identity{Name: user})}
	}
	return config
}

// http returns a plain client; user "" has no certificate.
func (c *cluster) http(user string) *http.Client {
	transport := &http.Transport{TLSClientConfig: c.tls(user), DisableCompression: true}
	c.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// answer is a whole HTTP response.
type answer struct {
	code   int
	header http.Header
	body   string
}

// do makes one request.
func (c *cluster) do(client *http.Client, method, path string, body io.Reader, header ...string) answer {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.address+path, body)
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(fmt.Errorf("read %s %s: %w", method, path, err))
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}
