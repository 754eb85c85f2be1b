package rpc

import (
	"fmt"
	"net"
	"strings"

	"google.golang.org/grpc/resolver"
)

// addressListScheme is the scheme of targets that are lists of addresses.
const addressListScheme = "addresses"

// resolverTarget turns "host:port[,host:port…]" into a target of the resolver
// below. Anything with a scheme ("unix:///…") is left as it is.
func resolverTarget(target string) string {
	if strings.Contains(target, "://") || strings.HasPrefix(target, "unix:") {
		return target
	}
	return addressListScheme + ":///" + target
}

// addressListBuilder resolves a fixed list of addresses, so that a client of
// several Stores goes on with the next when one is gone.
type addressListBuilder struct{}

// Scheme implements resolver.Builder.
func (addressListBuilder) Scheme() string { return addressListScheme }

// Build implements resolver.Builder.
func (addressListBuilder) Build(target resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	var state resolver.State
	for address := range strings.SplitSeq(target.Endpoint(), ",") {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return nil, fmt.Errorf("address %q: must be host:port: %w", address, err)
		}
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: address}}})
	}
	if err := cc.UpdateState(state); err != nil {
		return nil, fmt.Errorf("use the addresses %q: %w", target.Endpoint(), err)
	}
	return fixedResolver{}, nil
}

// fixedResolver never learns anything new.
type fixedResolver struct{}

// ResolveNow implements resolver.Resolver.
func (fixedResolver) ResolveNow(resolver.ResolveNowOptions) {}

// Close implements resolver.Resolver.
func (fixedResolver) Close() {}
