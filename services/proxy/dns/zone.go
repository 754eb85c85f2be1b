// Package dns is the cluster's name server on a node. A Zone holds what the
// names of the cluster's Services stand for, as the Kubernetes DNS
// specification has it; a Server answers from it over UDP and TCP, and a
// Forwarder asks the host's resolvers for every other name.
//
//	SERVICE.NS.svc.DOMAIN                 A, AAAA: cluster addresses, or those of the ready endpoints; CNAME
//	HOST.SERVICE.NS.svc.DOMAIN            A, AAAA: one endpoint of a headless Service
//	_PORT._PROTO.SERVICE.NS.svc.DOMAIN    SRV
//	1-2-3-4.NS.pod.DOMAIN                 A, AAAA: the address itself
//	dns-version.DOMAIN                    TXT
//	4.3.2.1.in-addr.arpa                  PTR of cluster addresses and of headless Services' endpoints
package dns

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Zone is the names of the cluster. It is safe for concurrent use; look-ups
// cost the same however many Services there are.
type Zone struct {
	// domain is the cluster domain in lower case, with a dot at the end.
	domain string

	mu sync.RWMutex // guards what follows
	// services is by "name.namespace".
	services   map[string]*entry
	namespaces map[string]int
	reverse    map[netip.Addr][]pointer
	serial     uint32
}

// entry is a Service with its look-ups prepared.
type entry struct {
	*Service
	hosts map[string][]netip.Addr
}

// pointer is one reverse name of an address and the Service that it is for.
type pointer struct{ service, name string }

// NewZone returns an empty zone for a cluster domain such as "cluster.local".
func NewZone(domain string) *Zone {
	return &Zone{
		domain:     strings.ToLower(strings.Trim(domain, ".")) + ".",
		services:   make(map[string]*entry),
		namespaces: make(map[string]int),
		reverse:    make(map[netip.Addr][]pointer),
		serial:     uint32(time.Now().Unix()),
	}
}

// Set makes the zone say about a Service what s says.
func (z *Zone) Set(s *Service) {
	e := &entry{Service: s, hosts: make(map[string][]netip.Addr, len(s.Endpoints))}
	for _, endpoint := range s.Endpoints {
		if addrs := e.hosts[endpoint.Host]; !slices.Contains(addrs, endpoint.Addr) {
			e.hosts[endpoint.Host] = append(addrs, endpoint.Addr)
		}
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.remove(s.Namespace, s.Name)
	z.services[key(s.Namespace, s.Name)] = e
	z.namespaces[s.Namespace]++
	for addr, name := range z.reverseNames(s) {
		z.reverse[addr] = append(z.reverse[addr], pointer{service: key(s.Namespace, s.Name), name: name})
	}
	z.serial++
}

// Delete makes the zone forget a Service.
func (z *Zone) Delete(namespace, name string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.remove(namespace, name)
	z.serial++
}

// remove forgets a Service; z.mu is held.
func (z *Zone) remove(namespace, name string) {
	id := key(namespace, name)
	e, ok := z.services[id]
	if !ok {
		return
	}
	delete(z.services, id)
	if z.namespaces[namespace]--; z.namespaces[namespace] == 0 {
		delete(z.namespaces, namespace)
	}
	for addr := range z.reverseNames(e.Service) {
		left := slices.DeleteFunc(z.reverse[addr], func(p pointer) bool { return p.service == id })
		if z.reverse[addr] = left; len(left) == 0 {
			delete(z.reverse, addr)
		}
	}
}

// reverseNames returns the names that a Service's addresses point back to.
func (z *Zone) reverseNames(s *Service) map[netip.Addr]string {
	out := make(map[netip.Addr]string, len(s.ClusterIPs)+len(s.Endpoints))
	name := key(s.Namespace, s.Name) + ".svc." + z.domain
	for _, addr := range s.ClusterIPs {
		out[addr] = name
	}
	for _, endpoint := range s.Endpoints {
		out[endpoint.Addr] = endpoint.Host + "." + name
	}
	return out
}

func (z *Zone) service(name, namespace string) (*entry, bool) {
	z.mu.RLock()
	defer z.mu.RUnlock()
	e, ok := z.services[name+"."+namespace]
	return e, ok
}

func (z *Zone) hasNamespace(namespace string) bool {
	z.mu.RLock()
	defer z.mu.RUnlock()
	return z.namespaces[namespace] > 0
}

func (z *Zone) pointers(addr netip.Addr) []string {
	z.mu.RLock()
	defer z.mu.RUnlock()
	var out []string
	for _, p := range z.reverse[addr] {
		out = append(out, p.name)
	}
	return out
}

func (z *Zone) currentSerial() uint32 {
	z.mu.RLock()
	defer z.mu.RUnlock()
	return z.serial
}

func key(namespace, name string) string { return name + "." + namespace }
