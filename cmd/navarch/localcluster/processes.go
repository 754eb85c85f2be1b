package localcluster

import (
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"navarch.dev/navarch/internal/certs"
)

// hostName stands for this machine in the URL of a registry mirror: nodes that
// are network namespaces reach it by an address that is only decided at start.
const hostName = "host.navarch.internal"

// processes lists what the supervisor keeps running.
func (c *Cluster) processes() []processSpec {
	specs := c.controlPlane()
	for _, n := range c.nodes {
		specs = append(specs, c.agent(n), c.proxy(n))
	}
	for i := range specs {
		specs[i].args = append(specs[i].args, "--debug-address-file", c.layout.DebugFile(specs[i].name))
	}
	return specs
}

// controlPlane is one process, or one for each of its services.
func (c *Cluster) controlPlane() []processSpec {
	s := c.state
	store := []string{
		"--etcd-data-dir", c.layout.Etcd(),
		"--listen", c.listenAddresses(s.StorePort),
		"--service-cidr", s.ServiceCIDR().String(),
		"--dns-service-ip", s.DNSAddress().String(),
		"--gateway-address", net.JoinHostPort(s.advertised(c.nodes).String(), strconv.Itoa(s.GatewayPort)),
		"--service-account-key-file", filepath.Join(c.layout.PKI(), signingKeyFile),
	}
	controller := []string{"--cluster-cidr", s.PodCIDR().String(), "--root-ca-file", filepath.Join(c.layout.PKI(), "ca.crt"),
		"--cluster-signing-cert-file", filepath.Join(c.layout.PKI(), "ca.crt"), "--cluster-signing-key-file", filepath.Join(c.layout.PKI(), "ca.key"),
		"--requestheader-client-ca-file", filepath.Join(c.layout.PKI(), certs.FrontProxyCA+".crt")}
	controller = append(controller, c.frontProxy()...)
	if c.options.FastFailover {
		store = append(store, "--default-unreachable-toleration-seconds", "0")
		controller = append(controller, "--fast-failover")
	}
	gateway := append([]string{"--listen", c.gatewayAddresses()}, c.frontProxy()...)
	gateway = append(gateway, c.options.Audit.Args()...)
	var scheduler []string
	if c.options.SchedulerConfig != "" {
		scheduler = []string{"--scheduler-config", c.options.SchedulerConfig}
	}
	if !c.options.SplitServices {
		args := append([]string{"control-plane"}, c.common(controlPlaneCert)...)
		args = append(args, store...)
		args = append(args, scheduler...)
		// The process's own certificate is the gateway's.
		controller = append(controller, "--agent-client-cert-file", filepath.Join(c.layout.PKI(), "controller.crt"), "--agent-client-key-file", filepath.Join(c.layout.PKI(), "controller.key"))
		args = append(args, withPrefix("controller-", controller)...)
		return []processSpec{{name: "control-plane", args: append(args, withPrefix("gateway-", gateway)...)}}
	}
	// There is one at a time: started again, it goes on at once with the Lease
	// that it held.
	controller = append(controller, "--leader-identity", "up")
	toStore := []string{"--store", c.storeEndpoint(), "--trace-endpoint", c.storeEndpoint()}
	on := func(port int) []string {
		return []string{"--listen", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
	}
	service := func(name, cert string, args ...[]string) processSpec {
		all := append([]string{name}, c.common(cert)...)
		for _, a := range args {
			all = append(all, a...)
		}
		return processSpec{name: name, args: all}
	}
	return []processSpec{
		service("store", "store", store, []string{"--trace-memory"}, c.options.Audit.Beside("store").Args()),
		service("scheduler", "scheduler", toStore, on(s.SchedulerPort), scheduler),
		service("controller", "controller", toStore, on(s.ControllerPort), controller),
		service("gateway", controlPlaneCert, toStore, gateway),
	}
}

// frontProxy names what other API servers are shown.
func (c *Cluster) frontProxy() []string {
	file := filepath.Join(c.layout.PKI(), certs.FrontProxyClient)
	return []string{"--proxy-client-cert-file", file + ".crt", "--proxy-client-key-file", file + ".key"}
}

// withPrefix puts a prefix before each flag of a command line.
func withPrefix(prefix string, args []string) []string {
	out := slices.Clone(args)
	for i, a := range out {
		if name, ok := strings.CutPrefix(a, "--"); ok {
			out[i] = "--" + prefix + name
		}
	}
	return out
}

func (c *Cluster) agent(n node) processSpec {
	args := append([]string{"agent"}, c.common(agentCert(n))...)
	args = append(args, c.nodeArgs(n)...)
	args = append(args,
		"--listen", net.JoinHostPort(n.address.String(), strconv.Itoa(c.state.AgentPort)),
		"--data-dir", c.layout.Dir,
		"--bin-dir", c.options.BinDir,
		"--cni-bin-dir", filepath.Join(c.options.BinDir, "cni"),
		"--node-port", strconv.Itoa(c.state.AgentPort),
		"--node-ip", n.address.String(),
		"--cluster-cidr", c.state.PodCIDR().String(),
		"--service-cidr", c.state.ServiceCIDR().String(),
		"--cluster-dns", c.state.DNSAddress().String(),
		"--capacity-share", strconv.FormatFloat(1/float64(c.state.Nodes), 'f', 6, 64),
		"--user-namespace-share", strconv.Itoa(n.index)+"/"+strconv.Itoa(c.state.Nodes),
	)
	for _, mirror := range c.options.RegistryMirrors {
		host, url, _ := strings.Cut(mirror, "=")
		url = strings.Replace(url, "//"+hostName, "//"+c.state.advertised(c.nodes).String(), 1)
		args = append(args, "--registry-mirror", host+"="+url)
	}
	if c.options.FastFailover {
		args = append(args, "--fast-failover")
	}
	return processSpec{name: "agent-" + n.name, args: args, node: n.name, namespace: n.namespace}
}

func (c *Cluster) proxy(n node) processSpec {
	args := append([]string{"proxy"}, c.common(proxyCert(n))...)
	args = append(args, c.nodeArgs(n)...)
	args = append(args,
		"--listen", net.JoinHostPort(n.address.String(), strconv.Itoa(c.state.ProxyPort)),
		"--pod-cidr", c.state.PodCIDR().String(),
		"--service-cidr", c.state.ServiceCIDR().String(),
		"--dns-address", c.state.DNSAddress().String(),
	)
	return processSpec{name: "proxy-" + n.name, args: args, node: n.name, namespace: n.namespace}
}

// nodeArgs are what the agent and the proxy of a node both need.
func (c *Cluster) nodeArgs(n node) []string {
	return []string{
		"--node-name", n.name,
		"--cluster-id", c.state.ID,
		"--store", c.storeEndpoint(),
		"--trace-endpoint", c.storeEndpoint(),
	}
}

func (c *Cluster) common(cert string) []string {
	args := []string{
		"--ca-file", filepath.Join(c.layout.PKI(), "ca.crt"),
		"--cert-file", filepath.Join(c.layout.PKI(), cert+".crt"),
		"--key-file", filepath.Join(c.layout.PKI(), cert+".key"),
	}
	if c.options.LogLevel != "" {
		args = append(args, "--log-level", c.options.LogLevel)
	}
	return args
}

// storeEndpoint is where agents and proxies reach the Store.
func (c *Cluster) storeEndpoint() string {
	host := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if c.state.Nodes > 1 {
		host = c.state.HostAddress()
	}
	return net.JoinHostPort(host.String(), strconv.Itoa(c.state.StorePort))
}

// listenAddresses are loopback and, with several nodes, the private bridge.
func (c *Cluster) listenAddresses(port int) string {
	addresses := []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
	if c.state.Nodes > 1 {
		addresses = append(addresses, net.JoinHostPort(c.state.HostAddress().String(), strconv.Itoa(port)))
	}
	return strings.Join(addresses, ",")
}

// gatewayAddresses are the one the user asked for and the one that pods use.
func (c *Cluster) gatewayAddresses() string {
	port := strconv.Itoa(c.state.GatewayPort)
	first := net.JoinHostPort(c.state.GatewayHost, port)
	if host, err := netip.ParseAddr(c.state.GatewayHost); err == nil && host.IsUnspecified() {
		return first
	}
	second := net.JoinHostPort(c.state.advertised(c.nodes).String(), port)
	if second == first {
		return first
	}
	return first + "," + second
}
