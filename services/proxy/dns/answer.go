package dns

import (
	"math/rand/v2"
	"net/netip"
	"strings"

	mdns "github.com/miekg/dns"
)

const (
	// ttl is how long clients may keep what the zone says, in seconds; that a
	// name does not exist, too.
	ttl = 5
	// schemaVersion is the version of the Kubernetes DNS specification.
	schemaVersion = "1.1.0"
)

// reply is the zone's part of an answer.
type reply struct {
	// exists is false if no record of any type has the name.
	exists         bool
	answers, extra []mdns.RR
	// alias is the name, outside the zone or within, that the question leads on to.
	alias string
}

// contains says whether a name in lower case belongs to the zone.
func (z *Zone) contains(name string) bool {
	return name == z.domain || strings.HasSuffix(name, "."+z.domain)
}

// lookup answers a question about a name of the zone. name is the question's
// in lower case; q.Name keeps the client's spelling for the records' owner.
func (z *Zone) lookup(name string, q mdns.Question, server netip.Addr) reply {
	labels := mdns.SplitDomainName(strings.TrimSuffix(name, z.domain))
	n := len(labels)
	switch {
	case n == 0:
		return z.apex(q)
	case n == 1 && labels[0] == "dns-version":
		return reply{exists: true, answers: textRecord(q, schemaVersion)}
	case n == 1 && labels[0] == "dns":
		return reply{exists: true}
	case n == 2 && labels[0] == "ns" && labels[1] == "dns":
		return reply{exists: true, answers: addressRecords(q, []netip.Addr{server})}
	case labels[n-1] == "svc":
		return z.serviceReply(labels[:n-1], q)
	case labels[n-1] == "pod":
		return z.podReply(labels[:n-1], q)
	}
	return reply{}
}

func (z *Zone) apex(q mdns.Question) reply {
	switch q.Qtype {
	case mdns.TypeSOA:
		return reply{exists: true, answers: []mdns.RR{z.soa()}}
	case mdns.TypeNS:
		return reply{exists: true, answers: []mdns.RR{&mdns.NS{Hdr: header(q.Name, mdns.TypeNS), Ns: "ns.dns." + z.domain}}}
	}
	return reply{exists: true}
}

// serviceReply answers for names below "svc".
func (z *Zone) serviceReply(labels []string, q mdns.Question) reply {
	n := len(labels)
	if n == 0 {
		return reply{exists: true}
	}
	if n == 1 {
		return reply{exists: z.hasNamespace(labels[0])}
	}
	e, ok := z.service(labels[n-2], labels[n-1])
	switch {
	case !ok || n > 4:
		return reply{}
	case e.ExternalName != "" && n > 2:
		return reply{}
	case e.ExternalName != "":
		return aliasReply(e.ExternalName, q)
	case n == 2:
		return z.wholeService(e, q)
	case n == 3 && strings.HasPrefix(labels[0], "_"):
		return reply{exists: len(z.targets(e, "", labels[0])) > 0}
	case n == 3:
		return hostReply(e, labels[0], q)
	}
	targets := z.targets(e, labels[0], labels[1])
	return reply{exists: len(targets) > 0}.withTargets(targets, q)
}

func aliasReply(target string, q mdns.Question) reply {
	fqdn := mdns.Fqdn(target)
	if _, ok := mdns.IsDomainName(fqdn); !ok {
		return reply{exists: true}
	}
	r := reply{exists: true, answers: []mdns.RR{&mdns.CNAME{Hdr: header(q.Name, mdns.TypeCNAME), Target: fqdn}}}
	if q.Qtype != mdns.TypeCNAME {
		r.alias = fqdn
	}
	return r
}

// wholeService answers for a Service's own name. A headless Service without
// endpoints exists, and has no addresses.
func (z *Zone) wholeService(e *entry, q mdns.Question) reply {
	if q.Qtype == mdns.TypeSRV {
		return reply{exists: true}.withTargets(z.targets(e, "", ""), q)
	}
	addrs := e.ClusterIPs
	if len(e.Endpoints) > 0 {
		addrs = make([]netip.Addr, 0, len(e.Endpoints))
		for _, endpoint := range e.Endpoints {
			addrs = append(addrs, endpoint.Addr)
		}
	}
	return reply{exists: true, answers: addressRecords(q, addrs)}
}

func hostReply(e *entry, host string, q mdns.Question) reply {
	addrs, ok := e.hosts[host]
	return reply{exists: ok, answers: addressRecords(q, addrs)}
}

// target is what one SRV record tells.
type target struct {
	host  string
	port  uint16
	addrs []netip.Addr
}

// targets returns where a port is served. port and protocol are labels such as
// "_http" and "_tcp"; empty ones mean any.
func (z *Zone) targets(e *entry, port, protocol string) []target {
	matches := func(p Port) bool {
		return (port == "" || p.Name != "" && port == "_"+p.Name) && (protocol == "" || protocol == "_"+p.Protocol)
	}
	name := key(e.Namespace, e.Name) + ".svc." + z.domain
	var out []target
	for _, p := range e.Ports {
		if matches(p) {
			out = append(out, target{host: name, port: p.Port, addrs: e.ClusterIPs})
		}
	}
	for _, endpoint := range e.Endpoints {
		for _, p := range endpoint.Ports {
			if matches(p) {
				out = append(out, target{host: endpoint.Host + "." + name, port: p.Port, addrs: []netip.Addr{endpoint.Addr}})
			}
		}
	}
	return out
}

// withTargets adds the SRV records, and the addresses of the hosts they name.
func (r reply) withTargets(targets []target, q mdns.Question) reply {
	if q.Qtype != mdns.TypeSRV {
		return r
	}
	told := make(map[string]bool, len(targets))
	for _, t := range targets {
		r.answers = append(r.answers, &mdns.SRV{
			Hdr: header(q.Name, mdns.TypeSRV), Weight: uint16(max(1, 100/len(targets))), Port: t.port, Target: t.host,
		})
		if told[t.host] {
			continue
		}
		told[t.host] = true
		for _, addr := range t.addrs {
			r.extra = append(r.extra, addressRecord(t.host, addr))
		}
	}
	return r
}

// podReply answers for names below "pod": the name holds the address.
func (z *Zone) podReply(labels []string, q mdns.Question) reply {
	switch len(labels) {
	case 0, 1:
		return reply{exists: true}
	case 2:
		if addr, ok := undashed(labels[0]); ok {
			return reply{exists: true, answers: addressRecords(q, []netip.Addr{addr})}
		}
	}
	return reply{}
}

// soa is the zone's start of authority, which negative answers carry.
func (z *Zone) soa() *mdns.SOA {
	return z.authority(z.domain)
}

func (z *Zone) authority(owner string) *mdns.SOA {
	return &mdns.SOA{
		Hdr: header(owner, mdns.TypeSOA), Ns: "ns.dns." + z.domain, Mbox: "hostmaster." + z.domain,
		Serial: z.currentSerial(), Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: ttl,
	}
}

// addressRecords returns the addresses of the type that is asked for, in
// random order: clients take the first.
func addressRecords(q mdns.Question, addrs []netip.Addr) []mdns.RR {
	var out []mdns.RR
	for _, addr := range addrs {
		rr := addressRecord(q.Name, addr)
		if q.Qtype == rr.Header().Rrtype || q.Qtype == mdns.TypeANY {
			out = append(out, rr)
		}
	}
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func addressRecord(owner string, addr netip.Addr) mdns.RR {
	if addr.Is4() {
		return &mdns.A{Hdr: header(owner, mdns.TypeA), A: addr.AsSlice()}
	}
	return &mdns.AAAA{Hdr: header(owner, mdns.TypeAAAA), AAAA: addr.AsSlice()}
}

func textRecord(q mdns.Question, text string) []mdns.RR {
	if q.Qtype != mdns.TypeTXT && q.Qtype != mdns.TypeANY {
		return nil
	}
	return []mdns.RR{&mdns.TXT{Hdr: header(q.Name, mdns.TypeTXT), Txt: []string{text}}}
}

func header(owner string, rrtype uint16) mdns.RR_Header {
	return mdns.RR_Header{Name: owner, Rrtype: rrtype, Class: mdns.ClassINET, Ttl: ttl}
}
