package proxy

import (
	"context"
	"strings"

	mdns "github.com/miekg/dns"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	proxyv1 "navarch.dev/navarch/proto/navarch/proxy/v1"
)

// proxyServer serves the ProxyService.
type proxyServer struct {
	proxyv1.UnimplementedProxyServiceServer
	proxy *Proxy
}

// Resolve answers a DNS question as the node's name server would.
func (s *proxyServer) Resolve(ctx context.Context, req *proxyv1.ResolveRequest) (*proxyv1.ResolveResponse, error) {
	qtype := mdns.TypeA
	if text := strings.ToUpper(req.GetType()); text != "" {
		var ok bool
		if qtype, ok = mdns.StringToType[text]; !ok {
			return nil, status.Errorf(codes.InvalidArgument, "type: %q is not a type of record", req.GetType())
		}
	}
	if _, ok := mdns.IsDomainName(req.GetName()); !ok || req.GetName() == "" {
		return nil, status.Errorf(codes.InvalidArgument, "name: %q is not a domain name", req.GetName())
	}
	var answer *mdns.Msg
	for _, name := range s.proxy.candidates(req.GetName(), req.GetNamespace()) {
		question := new(mdns.Msg)
		question.SetQuestion(name, qtype)
		answer = s.proxy.names.Respond(ctx, question)
		if answer.Rcode == mdns.RcodeSuccess && len(answer.Answer) > 0 {
			break
		}
	}
	resp := &proxyv1.ResolveResponse{Rcode: mdns.RcodeToString[answer.Rcode]}
	for _, rr := range answer.Answer {
		resp.Answers = append(resp.Answers, rr.String())
	}
	return resp, nil
}

// candidates returns the names that a pod of the namespace would ask for, in
// its resolver's order.
func (p *Proxy) candidates(name, namespace string) []string {
	const ndots = 5
	absolute := mdns.Fqdn(name)
	if name == absolute || namespace == "" {
		return []string{absolute}
	}
	domain := mdns.Fqdn(p.cfg.ClusterDomain)
	search := []string{
		name + "." + namespace + ".svc." + domain,
		name + ".svc." + domain,
		name + "." + domain,
	}
	if strings.Count(name, ".") >= ndots {
		return append([]string{absolute}, search...)
	}
	return append(search, absolute)
}

// ListServices returns the routes that are programmed on this node.
func (s *proxyServer) ListServices(_ context.Context, req *proxyv1.ListServicesRequest) (*proxyv1.ListServicesResponse, error) {
	return &proxyv1.ListServicesResponse{Services: s.proxy.board.list(matching(req.GetNamespace(), ""))}, nil
}

// WatchBackends streams routes, first all, then changes.
func (s *proxyServer) WatchBackends(req *proxyv1.WatchBackendsRequest, stream proxyv1.ProxyService_WatchBackendsServer) error {
	return s.proxy.board.watch(stream.Context(), matching(req.GetNamespace(), req.GetService()), stream.Send)
}

// matching accepts the routes of a Service; empty is any.
func matching(namespace, service string) func(routeKey) bool {
	return func(k routeKey) bool {
		return (namespace == "" || k.namespace == namespace) && (service == "" || k.service == service)
	}
}
