// Package proxy is a node's way to the cluster's Services: it routes
// connections to them and answers their names.
//
// It follows Services and EndpointSlices. Package routes decides what they ask
// of this node, package nftables programs it into the kernel, package dns
// answers names. The kernel goes on routing while the proxy is stopped; one that
// starts puts its own table in the place of what it finds, in one step.
package proxy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"

	"github.com/spf13/pflag"
)

// Config is what a Proxy has to be told.
type Config struct {
	// ClusterID and Node name the cluster and this node. Together they are
	// unique in a network namespace.
	ClusterID, Node string
	// NetNS is the path of the network namespace to route in; empty is the
	// process's own. Resolvers are asked from the process's own in any case.
	NetNS string
	// PodCIDR holds the addresses of all pods, ServiceCIDR those of the Services
	// that no ServiceCIDR object of the cluster holds.
	PodCIDR, ServiceCIDR string
	// ClusterDomain is the domain of the cluster's names.
	ClusterDomain string
	// DNSAddress is the cluster address of the name server; empty is the
	// tenth of ServiceCIDR. Every node has it, on its loopback link.
	DNSAddress string
	// ResolvConf names the resolvers for names that are not the cluster's.
	ResolvConf string
	// MasqueradeBit is the bit of packet marks that this proxy uses.
	MasqueradeBit int
	// LocalhostNodePorts makes node ports answer on 127.0.0.1 too.
	LocalhostNodePorts bool
}

// DefaultConfig returns the defaults; ClusterID and Node have none.
func DefaultConfig() Config {
	return Config{
		PodCIDR: "10.244.0.0/16", ServiceCIDR: "10.96.0.0/16", ClusterDomain: "cluster.local",
		ResolvConf: "/etc/resolv.conf", MasqueradeBit: 14, LocalhostNodePorts: true,
	}
}

// AddFlags adds a flag for each setting, its present value being the default.
func (c *Config) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&c.ClusterID, "cluster-id", c.ClusterID, "identifier of the cluster, unique on this machine")
	fs.StringVar(&c.Node, "node-name", c.Node, "name of this node")
	fs.StringVar(&c.NetNS, "proxy-netns", c.NetNS, "path of the network namespace to route in (default: the process's own)")
	fs.StringVar(&c.PodCIDR, "pod-cidr", c.PodCIDR, "addresses of all pods")
	fs.StringVar(&c.ServiceCIDR, "service-cidr", c.ServiceCIDR, "addresses of Services, beside those of the cluster's ServiceCIDRs")
	fs.StringVar(&c.ClusterDomain, "cluster-domain", c.ClusterDomain, "domain of the cluster's names")
	fs.StringVar(&c.DNSAddress, "dns-address", c.DNSAddress, "address of the cluster's name server (default: the tenth of --service-cidr)")
	fs.StringVar(&c.ResolvConf, "resolv-conf", c.ResolvConf, "file that names the resolvers for all other names")
	fs.IntVar(&c.MasqueradeBit, "masquerade-bit", c.MasqueradeBit, "bit of packet marks to use, 0 to 31")
	fs.BoolVar(&c.LocalhostNodePorts, "localhost-node-ports", c.LocalhostNodePorts, "answer node ports on 127.0.0.1 too")
}

// Validate says what is wrong with the settings.
func (c *Config) Validate() error {
	_, err := c.settings()
	return err
}

// settings are a Config's values in their own types.
type settings struct {
	pods, services netip.Prefix
	dns            netip.Addr
	table          string
	mark           uint32
}

func (c *Config) settings() (settings, error) {
	var errs []error
	if c.ClusterID == "" {
		errs = append(errs, errors.New("--cluster-id is empty"))
	}
	if c.Node == "" {
		errs = append(errs, errors.New("--node-name is empty"))
	}
	if c.ClusterDomain == "" {
		errs = append(errs, errors.New("--cluster-domain is empty"))
	}
	if c.MasqueradeBit < 0 || c.MasqueradeBit > 31 {
		errs = append(errs, fmt.Errorf("--masquerade-bit %d is not from 0 to 31", c.MasqueradeBit))
	}
	s := settings{table: c.tableName(), mark: 1 << (c.MasqueradeBit & 31)}
	var err error
	if s.pods, err = prefix4("--pod-cidr", c.PodCIDR); err != nil {
		errs = append(errs, err)
	}
	if s.services, err = prefix4("--service-cidr", c.ServiceCIDR); err != nil {
		errs = append(errs, err)
	} else if s.dns, err = c.dnsAddress(s.services); err != nil {
		errs = append(errs, err)
	}
	return s, errors.Join(errs...)
}

func (c *Config) dnsAddress(services netip.Prefix) (netip.Addr, error) {
	addr := services.Addr()
	if c.DNSAddress == "" {
		for range 10 {
			addr = addr.Next()
		}
	} else {
		var err error
		if addr, err = netip.ParseAddr(c.DNSAddress); err != nil {
			return addr, fmt.Errorf("--dns-address: %w", err)
		}
	}
	if !services.Contains(addr) {
		return addr, fmt.Errorf("--dns-address %s is not in --service-cidr %s", addr, services)
	}
	return addr, nil
}

func prefix4(flag, text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("%s: %w", flag, err)
	}
	if !p.Addr().Is4() {
		return p, fmt.Errorf("%s %s is not of IPv4", flag, p)
	}
	return p.Masked(), nil
}

// tablePrefix begins the names of all proxies' tables.
const tablePrefix = "navarch-proxy-"

// tableName is unique for a cluster's node in a network namespace. The kernel
// allows 255 bytes; a node's name alone may take 253.
func (c *Config) tableName() string {
	name := c.clusterTables() + c.Node
	if len(name) <= 200 {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:180] + "-" + hex.EncodeToString(sum[:6])
}

// clusterTables begins the names of the tables of the cluster's nodes.
func (c *Config) clusterTables() string { return tablePrefix + c.ClusterID + "-" }
