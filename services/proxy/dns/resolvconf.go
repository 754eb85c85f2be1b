package dns

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	mdns "github.com/miekg/dns"
)

// resolvConf is the resolvers that a file names.
type resolvConf struct {
	path string
	self []netip.Addr
	// port is the resolvers' port.
	port string

	mu       sync.Mutex // guards what follows
	read     []string
	checked  time.Time
	modified time.Time
}

// recheck is how long the file is trusted not to have changed.
const recheck = 5 * time.Second

func newResolvConf(path string, self []netip.Addr) *resolvConf {
	return &resolvConf{path: path, self: self, port: "53"}
}

// addresses returns the resolvers as host:port, in the file's order.
func (r *resolvConf) addresses(now time.Time) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.checked.IsZero() && now.Sub(r.checked) < recheck {
		return r.read, nil
	}
	info, err := os.Stat(r.path)
	if err != nil {
		return nil, fmt.Errorf("find the host's resolvers: %w", err)
	}
	if r.checked.IsZero() || !info.ModTime().Equal(r.modified) {
		config, err := mdns.ClientConfigFromFile(r.path)
		if err != nil {
			return nil, fmt.Errorf("read the host's resolvers from %s: %w", r.path, err)
		}
		r.read = r.others(config)
		r.modified = info.ModTime()
	}
	r.checked = now
	return r.read, nil
}

// others leaves out the cluster's own name server: it would ask itself.
func (r *resolvConf) others(config *mdns.ClientConfig) []string {
	var out []string
	for _, server := range config.Servers {
		if addr, err := netip.ParseAddr(server); err == nil && slices.Contains(r.self, addr) {
			continue
		}
		out = append(out, net.JoinHostPort(server, r.port))
	}
	return out
}
