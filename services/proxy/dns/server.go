package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	mdns "github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// maxUDPSize is the largest answer sent in a datagram: what passes every
	// link without fragments.
	maxUDPSize = 1232
	// maxAliases is how many CNAMEs of the zone are followed for one question.
	maxAliases = 8
	// patience is how long one question may take.
	patience = 6 * time.Second
)

// Upstream answers questions about names that are not the cluster's.
type Upstream interface {
	// Exchange returns the answer to a question, which it may share with
	// others: it must not be changed.
	Exchange(ctx context.Context, q Query) (*mdns.Msg, error)
}

// Query is a question to an Upstream.
type Query struct {
	mdns.Question
	// DNSSEC asks for signatures, Unchecked for answers without validation.
	DNSSEC, Unchecked bool
}

// Options configure a Server.
type Options struct {
	Zone     *Zone
	Upstream Upstream
	// Address is the address that the server is known by.
	Address netip.Addr
	// Owned returns the ranges of addresses whose reverse names only the zone knows.
	Owned func() []netip.Prefix
	// Synced says whether the zone is complete. Until then it denies nothing.
	Synced func() bool
	Log    *slog.Logger
	// Metrics counts answers, if set.
	Metrics prometheus.Registerer
}

// Server answers DNS questions.
type Server struct {
	opts     Options
	requests *prometheus.CounterVec
}

// NewServer returns a server; Serve makes it listen.
func NewServer(opts Options) (*Server, error) {
	s := &Server{opts: opts, requests: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "navarch_dns_requests_total", Help: "DNS questions answered, by response code.",
	}, []string{"rcode"})}
	if opts.Metrics != nil {
		if err := opts.Metrics.Register(s.requests); err != nil {
			return nil, fmt.Errorf("register DNS metrics: %w", err)
		}
	}
	return s, nil
}

// Serve answers on the two sockets until ctx ends, and closes them.
func (s *Server) Serve(ctx context.Context, packets net.PacketConn, listener net.Listener) error {
	handle := func(w mdns.ResponseWriter, req *mdns.Msg) { s.handle(ctx, w, req) }
	servers := []*mdns.Server{
		{PacketConn: packets, Handler: mdns.HandlerFunc(handle)},
		{Listener: listener, Handler: mdns.HandlerFunc(handle)},
	}
	failed := make(chan error, len(servers))
	for _, server := range servers {
		go func() { failed <- server.ActivateAndServe() }()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("serve DNS: %w", err)
	}
	return errors.Join(err, packets.Close(), listener.Close())
}

func (s *Server) handle(ctx context.Context, w mdns.ResponseWriter, req *mdns.Msg) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	resp := s.Respond(ctx, req)
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		resp.Truncate(datagramSize(req))
	}
	s.requests.WithLabelValues(mdns.RcodeToString[resp.Rcode]).Inc()
	if err := w.WriteMsg(resp); err != nil {
		s.opts.Log.DebugContext(ctx, "could not send a DNS answer", "client", w.RemoteAddr(), "error", err)
	}
}

func datagramSize(req *mdns.Msg) int {
	if opt := req.IsEdns0(); opt != nil {
		return min(max(int(opt.UDPSize()), mdns.MinMsgSize), maxUDPSize)
	}
	return mdns.MinMsgSize
}

// Respond returns the whole answer to a message.
func (s *Server) Respond(ctx context.Context, req *mdns.Msg) *mdns.Msg {
	resp := new(mdns.Msg)
	resp.SetReply(req)
	resp.RecursionAvailable = true
	resp.Compress = true
	if opt := req.IsEdns0(); opt != nil {
		resp.SetEdns0(maxUDPSize, opt.Do())
		if opt.Version() != 0 {
			resp.Rcode = mdns.RcodeBadVers
			return resp
		}
	}
	if resp.Rcode = acceptable(req); resp.Rcode != mdns.RcodeSuccess {
		return resp
	}
	s.answer(ctx, req, resp)
	return resp
}

// acceptable returns the code that refuses a message, or success.
func acceptable(req *mdns.Msg) int {
	switch {
	case req.Opcode != mdns.OpcodeQuery:
		return mdns.RcodeNotImplemented
	case len(req.Question) != 1 || req.Response:
		return mdns.RcodeFormatError
	case req.Question[0].Qclass != mdns.ClassINET:
		return mdns.RcodeRefused
	case req.Question[0].Qtype == mdns.TypeAXFR, req.Question[0].Qtype == mdns.TypeIXFR:
		return mdns.RcodeRefused
	}
	return mdns.RcodeSuccess
}

// answer fills resp with the answer to the only question of req, following the
// aliases that the zone has.
func (s *Server) answer(ctx context.Context, req, resp *mdns.Msg) {
	q := req.Question[0]
	for range maxAliases {
		r, authority, ours := s.fromZone(q)
		if !ours {
			s.forward(ctx, req, resp, q)
			return
		}
		if !s.opts.Synced() && len(r.answers) == 0 {
			resp.Rcode = mdns.RcodeServerFailure
			return
		}
		resp.Authoritative = true
		resp.Answer = append(resp.Answer, r.answers...)
		resp.Extra = append(resp.Extra, r.extra...)
		if r.alias != "" {
			q.Name = r.alias
			continue
		}
		if !r.exists {
			resp.Rcode = mdns.RcodeNameError
		}
		if len(r.answers) == 0 {
			resp.Ns = append(resp.Ns, authority)
		}
		return
	}
	resp.Rcode = mdns.RcodeServerFailure
}

// fromZone answers from the zone, with the authority that denies what is not
// there. ours is false for names that others know.
func (s *Server) fromZone(q mdns.Question) (r reply, authority *mdns.SOA, ours bool) {
	zone, name := s.opts.Zone, strings.ToLower(q.Name)
	if zone.contains(name) {
		return zone.lookup(name, q, s.opts.Address), zone.soa(), true
	}
	addr, ok := parseReverse(name)
	if !ok {
		return reply{}, nil, false
	}
	r = zone.reverseReply(addr, q)
	for _, owned := range s.opts.Owned() {
		if owned.Contains(addr) {
			return r, zone.authority(reverseZone(owned)), true
		}
	}
	return r, zone.soa(), r.exists
}

// forward adds an upstream's answer about q to resp.
func (s *Server) forward(ctx context.Context, req, resp *mdns.Msg, q mdns.Question) {
	opt := req.IsEdns0()
	answer, err := s.opts.Upstream.Exchange(ctx, Query{
		Question: q, DNSSEC: opt != nil && opt.Do(), Unchecked: req.CheckingDisabled,
	})
	if err != nil {
		s.opts.Log.DebugContext(ctx, "no resolver answered", "name", q.Name, "error", err)
		resp.Rcode = mdns.RcodeServerFailure
		return
	}
	resp.Authoritative = false
	resp.Rcode = answer.Rcode
	resp.AuthenticatedData = answer.AuthenticatedData && len(resp.Answer) == 0
	resp.Answer = append(resp.Answer, answer.Answer...)
	resp.Ns = append(resp.Ns, answer.Ns...)
	for _, rr := range answer.Extra {
		if rr.Header().Rrtype != mdns.TypeOPT {
			resp.Extra = append(resp.Extra, rr)
		}
	}
}
