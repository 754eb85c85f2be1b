package localcluster

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"time"

	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kubeconfig"
)

// Names of the certificates in the pki folder.
const (
	controlPlaneCert = "control-plane"
	adminCert        = "admin"
	// signingKeyFile signs service accounts' tokens.
	signingKeyFile = "service-account.key"
)

// services are the services whose names the control plane's certificate holds.
var services = []string{"store", "scheduler", "controller", "gateway"}

// issueCertificates makes what is missing of the cluster's certificates, renews
// what nears its end, and writes the local user's kubeconfig. It returns when
// the next of them nears its end.
func (s *State) issueCertificates(l Layout, nodes []node) (time.Time, error) {
	var next time.Time
	authority, err := certs.LoadOrCreate(l.PKI())
	if err != nil {
		return next, err
	}
	requests := map[string]certs.Request{
		controlPlaneCert: {
			Identity: identity.Service(identity.Gateway),
			DNSNames: s.controlPlaneNames(),
			IPs:      s.controlPlaneAddresses(nodes),
		},
		adminCert: {Identity: identity.Identity{Name: "kubernetes-admin", Groups: []string{identity.GroupMasters}}},
		// One certificate a service, for running the services apart.
		"store":      {Identity: identity.Service(identity.Store), DNSNames: []string{certs.ServerName("store"), "localhost"}},
		"scheduler":  {Identity: identity.Service(identity.Scheduler), DNSNames: []string{certs.ServerName("scheduler"), "localhost"}},
		"controller": {Identity: identity.Service(identity.Controller), DNSNames: []string{certs.ServerName("controller"), "localhost"}},
	}
	for _, n := range nodes {
		ips := []net.IP{n.address.AsSlice(), net.IPv4(127, 0, 0, 1)}
		requests[agentCert(n)] = certs.Request{
			Identity: identity.Node(n.name),
			DNSNames: []string{certs.ServerName("agent"), certs.NodeServerName(n.name), n.name},
			IPs:      ips,
		}
		requests[proxyCert(n)] = certs.Request{
			Identity: identity.Service(identity.Proxy),
			DNSNames: []string{certs.ServerName("proxy")},
			IPs:      ips,
		}
	}
	frontProxy, err := certs.EnsureFrontProxy(l.PKI())
	if err != nil {
		return next, fmt.Errorf("make the certificate of the front proxy: %w", err)
	}
	pairs := []certs.Pair{frontProxy}
	for name, request := range requests {
		pair, err := authority.Ensure(l.PKI(), name, request)
		if err != nil {
			return next, fmt.Errorf("make the certificate of %s: %w", name, err)
		}
		pairs = append(pairs, pair)
	}
	for _, pair := range pairs {
		at, err := pair.RenewAt()
		if err != nil {
			return next, err
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	if err := certs.EnsureSigningKey(filepath.Join(l.PKI(), signingKeyFile)); err != nil {
		return next, err
	}
	return next, s.writeKubeconfig(l, authority)
}

// longestWait bounds how long the supervisor sleeps until a renewal: timers
// stand still while a machine is suspended.
const longestWait = 12 * time.Hour

// renewCertificates makes certificates anew before they end, until ctx does. The
// processes take up what is new by themselves.
func (c *Cluster) renewCertificates(ctx context.Context, next time.Time) {
	for {
		wait := min(time.Until(next), longestWait)
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(wait, time.Minute)):
		}
		if time.Now().Before(next) {
			continue
		}
		again, err := c.state.issueCertificates(c.layout, c.nodes)
		if err != nil {
			c.log.ErrorContext(ctx, "certificates could not be renewed", "error", err)
			continue // in a minute
		}
		c.log.InfoContext(ctx, "certificates were renewed", "next", again)
		next = again
	}
}

func agentCert(n node) string { return "agent-" + n.name }

func proxyCert(n node) string { return "proxy-" + n.name }

func (s *State) controlPlaneNames() []string {
	names := []string{
		"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
	}
	for _, service := range services {
		names = append(names, certs.ServerName(service))
	}
	return names
}

func (s *State) controlPlaneAddresses(nodes []node) []net.IP {
	ips := []net.IP{net.IPv4(127, 0, 0, 1), s.ServiceCIDR().Addr().Next().AsSlice(), s.advertised(nodes).AsSlice()}
	if a, err := netip.ParseAddr(s.GatewayHost); err == nil && !a.IsUnspecified() {
		ips = append(ips, a.AsSlice())
	}
	return ips
}

// advertised is the host's address as pods and nodes reach it.
func (s *State) advertised(nodes []node) netip.Addr {
	if s.Nodes > 1 {
		return s.HostAddress()
	}
	return nodes[0].address
}

// writeKubeconfig writes the local user's kubeconfig, with a client certificate
// in it.
func (s *State) writeKubeconfig(l Layout, authority *certs.Authority) error {
	pair, err := certs.ReadPair(l.PKI(), adminCert)
	if err != nil {
		return fmt.Errorf("read the user's certificate: %w", err)
	}
	return kubeconfig.Write(s.Kubeconfig, kubeconfig.Config{Server: s.gatewayAddress(), Authority: authority.CertPEM(), User: pair})
}
