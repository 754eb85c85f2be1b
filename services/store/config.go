package store

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"navarch.dev/navarch/services/store/admission"
	"navarch.dev/navarch/services/store/flowcontrol"
)

// Config is what an operator can set about a Store.
type Config struct {
	// ServiceCIDR is where cluster IPs come from. Its first address is the
	// Service default/kubernetes.
	ServiceCIDR string
	// DNSServiceIP is the cluster IP of kube-system/kube-dns; empty is the
	// tenth address of ServiceCIDR.
	DNSServiceIP string
	// NodePortMin and NodePortMax are the range of node ports, both included.
	NodePortMin, NodePortMax int
	// GatewayAddresses are the host:port at which pods reach the gateway: the
	// endpoints of default/kubernetes. Empty leaves that Service without any.
	GatewayAddresses []string
	// EventTTL is how long Events are kept.
	EventTTL time.Duration
	// MaxEvents is how many Events are kept: of more, the oldest go first. 0 is
	// any number.
	MaxEvents int
	// BookmarkInterval is how often a watch that allows bookmarks gets one.
	BookmarkInterval time.Duration
	// CompactInterval is how often old revisions are dropped; those younger
	// than the interval stay. 0 never drops any.
	CompactInterval time.Duration
	// DisableAdmissionPlugins names rules of admission that are not applied, as
	// package admission names them.
	DisableAdmissionPlugins []string
	// EnableAdmissionPlugins names rules that are applied although they are not
	// in the stock set.
	EnableAdmissionPlugins []string
	// Agents connects to the agents of pods that are webhooks; nil connects to
	// none.
	Agents AgentDialer
	// Tolerations are how long pods that do not say so stay on a failed node.
	Tolerations admission.Tolerations
	// Flow is how many requests are served at a time.
	Flow flowcontrol.Config
}

// admission returns which rules apply.
func (c *Config) admission() admission.Choice {
	return admission.Choice{Enabled: c.EnableAdmissionPlugins, Disabled: c.DisableAdmissionPlugins, Tolerations: &c.Tolerations}
}

// DefaultConfig returns the stock settings.
func DefaultConfig() Config {
	return Config{
		ServiceCIDR: "10.96.0.0/16",
		NodePortMin: 30000, NodePortMax: 32767,
		EventTTL:         24 * time.Hour,
		MaxEvents:        20_000,
		BookmarkInterval: time.Minute,
		CompactInterval:  5 * time.Minute,
		Tolerations:      admission.StockTolerations(),
		Flow:             flowcontrol.DefaultConfig(),
	}
}

// AddFlags registers a flag for every setting, with c's values as defaults.
func (c *Config) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&c.ServiceCIDR, "service-cidr", c.ServiceCIDR, "range of the Services' cluster IPs")
	fs.StringVar(&c.DNSServiceIP, "dns-service-ip", c.DNSServiceIP, "cluster IP of the DNS Service (default: the tenth address of --service-cidr)")
	fs.IntVar(&c.NodePortMin, "node-port-min", c.NodePortMin, "lowest node port")
	fs.IntVar(&c.NodePortMax, "node-port-max", c.NodePortMax, "highest node port")
	fs.StringSliceVar(&c.GatewayAddresses, "gateway-address", c.GatewayAddresses, "host:port at which pods reach the gateway (repeatable)")
	fs.DurationVar(&c.EventTTL, "event-ttl", c.EventTTL, "how long Events are kept")
	fs.IntVar(&c.MaxEvents, "max-events", c.MaxEvents, "how many Events are kept; of more, the oldest go first; 0 is any number")
	fs.DurationVar(&c.BookmarkInterval, "watch-bookmark-interval", c.BookmarkInterval, "how often an idle watch is told how far it has come")
	fs.StringSliceVar(&c.DisableAdmissionPlugins, "disable-admission-plugins", c.DisableAdmissionPlugins,
		"admission rules that are not applied, of: "+strings.Join(admission.Names(), ", "))
	fs.StringSliceVar(&c.EnableAdmissionPlugins, "enable-admission-plugins", c.EnableAdmissionPlugins,
		"admission rules that are applied beside the stock ones, for example "+admission.DenyServiceExternalIPs)
	fs.Int64Var(&c.Tolerations.NotReady, "default-not-ready-toleration-seconds", c.Tolerations.NotReady,
		"how long pods that do not say so tolerate that their node is not ready")
	fs.Int64Var(&c.Tolerations.Unreachable, "default-unreachable-toleration-seconds", c.Tolerations.Unreachable,
		"how long pods that do not say so tolerate that their node is not heard of")
	c.Flow.AddFlags(fs)
	fs.DurationVar(&c.CompactInterval, "compact-interval", c.CompactInterval, "how often old revisions are dropped; 0 keeps them all")
}

// Validate says what is wrong with the settings.
func (c *Config) Validate() error {
	var errs []error
	prefix, err := netip.ParsePrefix(c.ServiceCIDR)
	switch {
	case err != nil:
		errs = append(errs, fmt.Errorf("--service-cidr %q is not an address range", c.ServiceCIDR))
	case !prefix.Addr().Is4() || prefix.Bits() > 24 || prefix.Bits() < 12:
		errs = append(errs, fmt.Errorf("--service-cidr %s must be an IPv4 range between /12 and /24", c.ServiceCIDR))
	case c.DNSServiceIP != "":
		if ip, err := netip.ParseAddr(c.DNSServiceIP); err != nil || !prefix.Contains(ip) {
			errs = append(errs, fmt.Errorf("--dns-service-ip %q is not an address of %s", c.DNSServiceIP, c.ServiceCIDR))
		}
	}
	if c.NodePortMin < 1 || c.NodePortMax > 65535 || c.NodePortMin > c.NodePortMax {
		errs = append(errs, fmt.Errorf("--node-port-min %d and --node-port-max %d are not a range of ports", c.NodePortMin, c.NodePortMax))
	}
	for _, a := range c.GatewayAddresses {
		if _, err := netip.ParseAddrPort(a); err != nil {
			errs = append(errs, fmt.Errorf("--gateway-address %q is not IP:port", a))
		}
	}
	if c.EventTTL < time.Second {
		errs = append(errs, fmt.Errorf("--event-ttl %s must be at least 1s", c.EventTTL))
	}
	if c.MaxEvents < 0 || c.MaxEvents > 0 && c.MaxEvents < 10 {
		errs = append(errs, fmt.Errorf("--max-events %d must be 0 or at least 10", c.MaxEvents))
	}
	if c.BookmarkInterval < time.Second {
		errs = append(errs, fmt.Errorf("--watch-bookmark-interval %s must be at least 1s", c.BookmarkInterval))
	}
	errs = append(errs, knownRules("--disable-admission-plugins", c.DisableAdmissionPlugins)...)
	errs = append(errs, knownRules("--enable-admission-plugins", c.EnableAdmissionPlugins)...)
	for flag, seconds := range map[string]int64{
		"--default-not-ready-toleration-seconds": c.Tolerations.NotReady, "--default-unreachable-toleration-seconds": c.Tolerations.Unreachable,
	} {
		if seconds < 0 {
			errs = append(errs, fmt.Errorf("%s %d must not be negative", flag, seconds))
		}
	}
	if c.CompactInterval < 0 {
		errs = append(errs, fmt.Errorf("--compact-interval %s must not be negative", c.CompactInterval))
	}
	return errors.Join(append(errs, c.Flow.Validate())...)
}

// knownRules says which of the names that a flag was given are no rule's.
func knownRules(flag string, names []string) []error {
	var errs []error
	for _, name := range names {
		if !slices.Contains(admission.Names(), name) {
			errs = append(errs, fmt.Errorf("%s: %q is none of %s", flag, name, strings.Join(admission.Names(), ", ")))
		}
	}
	return errs
}
