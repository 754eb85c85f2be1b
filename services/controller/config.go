package controller

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/pflag"

	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/services/controller/apiservice"
	"navarch.dev/navarch/services/controller/certificates"
	"navarch.dev/navarch/services/controller/nodelifecycle"
)

// Config configures the controllers.
type Config struct {
	// LeaderElect makes several processes share the work: one reconciles, the
	// others stand by. Off, this process reconciles at once; there must be no
	// other.
	LeaderElect bool
	// Identity is this process's name in the leader Lease. Two processes of one
	// name would both reconcile.
	Identity string
	// Workers is how many objects each controller reconciles at once.
	Workers int
	// Disabled names controllers that are not run.
	Disabled []string

	// ClusterCIDR is the range that nodes get their pod addresses from, a
	// prefix of NodeCIDRMaskSize bits each. Empty leaves that to others.
	ClusterCIDR      string
	NodeCIDRMaskSize int
	// RootCA is the PEM bundle published to pods in kube-root-ca.crt and in a
	// ClusterTrustBundle. Empty: nothing is published.
	RootCA []byte
	// Authentication is what other API servers are told about those who call them.
	Authentication apiservice.AuthenticationConfig
	// ProxyCertificate returns what other API servers are shown. Nil: nothing.
	ProxyCertificate func() *tls.Certificate
	// Signing signs certificates that were approved. Without an authority none
	// are.
	Signing certificates.SigningConfig
	// NodeLifecycle says when nodes count as gone, and how fast they are emptied.
	NodeLifecycle nodelifecycle.Config
	// TerminatedPodThreshold is how many finished pods are kept; 0 is all.
	TerminatedPodThreshold int
}

// DefaultConfig returns the configuration of a single-process cluster.
func DefaultConfig() Config {
	host, err := os.Hostname()
	if err != nil {
		host = "controller"
	}
	return Config{
		Identity:               host + "_" + uuid.NewString(),
		Workers:                4,
		Authentication:         apiservice.AuthenticationConfig{FrontProxyNames: []string{certs.FrontProxyClient}},
		ClusterCIDR:            "10.244.0.0/16",
		NodeCIDRMaskSize:       24,
		Signing:                certificates.SigningConfig{Life: 365 * 24 * time.Hour},
		NodeLifecycle:          nodelifecycle.DefaultConfig(),
		TerminatedPodThreshold: 12500,
	}
}

// AddFlags registers a flag for every field but the certificates and the
// authorities, which the caller reads from files.
func (c *Config) AddFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&c.LeaderElect, "leader-elect", c.LeaderElect, "elect one of several controller processes by a Lease")
	fs.StringVar(&c.Identity, "leader-identity", c.Identity, "this process's name in the leader Lease")
	fs.IntVar(&c.Workers, "workers", c.Workers, "objects that each controller reconciles at once")
	fs.StringSliceVar(&c.Disabled, "disable-controllers", c.Disabled, "controllers not to run, by name")
	fs.StringVar(&c.ClusterCIDR, "cluster-cidr", c.ClusterCIDR, "range of the pods' addresses, shared out to nodes; empty: do not share out")
	fs.IntVar(&c.NodeCIDRMaskSize, "node-cidr-mask-size", c.NodeCIDRMaskSize, "prefix length of a node's part of the cluster CIDR")
	fs.StringSliceVar(&c.Authentication.FrontProxyNames, "requestheader-allowed-names", c.Authentication.FrontProxyNames, "common names of the certificate that gateways show to other API servers (repeatable); empty: any")
	fs.DurationVar(&c.Signing.Life, "cluster-signing-duration", c.Signing.Life, "longest life of signed certificates")
	c.NodeLifecycle.AddFlags(fs)
	fs.IntVar(&c.TerminatedPodThreshold, "terminated-pod-gc-threshold", c.TerminatedPodThreshold, "finished pods to keep; 0: all")
}

// Validate returns everything that is wrong with the configuration.
func (c *Config) Validate() error {
	var errs []error
	if c.LeaderElect && c.Identity == "" {
		errs = append(errs, errors.New("leader-identity: must not be empty with leader-elect"))
	}
	if c.Workers < 1 {
		errs = append(errs, fmt.Errorf("workers: %d is not positive", c.Workers))
	}
	if c.ClusterCIDR != "" {
		errs = append(errs, c.validateCIDR())
	}
	if c.Signing.Life < 10*time.Minute {
		errs = append(errs, fmt.Errorf("cluster-signing-duration: %s is less than ten minutes", c.Signing.Life))
	}
	errs = append(errs, c.NodeLifecycle.Validate()...)
	if c.TerminatedPodThreshold < 0 {
		errs = append(errs, fmt.Errorf("terminated-pod-gc-threshold: %d is negative", c.TerminatedPodThreshold))
	}
	for _, name := range c.Disabled {
		if !slices.ContainsFunc(controllers(c), func(f factory) bool { return f.name == name }) {
			errs = append(errs, fmt.Errorf("disable-controllers: there is no controller %q", name))
		}
	}
	return errors.Join(errs...)
}

func (c *Config) validateCIDR() error {
	p, err := netip.ParsePrefix(c.ClusterCIDR)
	if err != nil {
		return fmt.Errorf("cluster-cidr: %w", err)
	}
	if c.NodeCIDRMaskSize < p.Bits() || c.NodeCIDRMaskSize > p.Addr().BitLen() || c.NodeCIDRMaskSize-p.Bits() > 16 {
		return fmt.Errorf("node-cidr-mask-size: %d does not divide %s into at most 65536 parts", c.NodeCIDRMaskSize, c.ClusterCIDR)
	}
	return nil
}
