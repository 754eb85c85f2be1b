package rpc

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc/attributes"
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

// addressList resolves a list of addresses, so that a client of several Stores
// goes on with the next when one is gone. It is the builder and the resolver of
// one connection.
type addressList struct {
	mu        sync.Mutex // guards the fields below
	cc        resolver.ClientConn
	addresses []string // in the order in which they are tried
	// left is how often a connection to an address was given up on purpose.
	left map[string]int
}

// leftKey is the attribute of an address by which gRPC tells connections that are
// to be given up from those that are to be made.
type leftKey struct{}

// Scheme implements resolver.Builder.
func (l *addressList) Scheme() string { return addressListScheme }

// Build implements resolver.Builder.
func (l *addressList) Build(target resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cc, l.addresses = cc, strings.Split(target.Endpoint(), ",")
	for _, address := range l.addresses {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return nil, fmt.Errorf("address %q: must be host:port: %w", address, err)
		}
	}
	if err := cc.UpdateState(l.state()); err != nil {
		return nil, fmt.Errorf("use the addresses %q: %w", target.Endpoint(), err)
	}
	return l, nil
}

// state needs l.mu.
func (l *addressList) state() (state resolver.State) {
	for _, address := range l.addresses {
		a := resolver.Address{Addr: address, Attributes: attributes.New(leftKey{}, l.left[address])}
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{a}})
	}
	return state
}

// order returns the addresses in the order in which they are tried, none before it
// has resolved any.
func (l *addressList) order() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.addresses
}

// leave has an address tried last, and the connection to it get no more calls.
func (l *addressList) leave(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.addresses, address)
	if i < 0 {
		return
	}
	l.addresses = append(slices.Delete(slices.Clone(l.addresses), i, i+1), address)
	if l.left == nil {
		l.left = make(map[string]int)
	}
	l.left[address]++
	_ = l.cc.UpdateState(l.state()) // of a list that is not empty it fails only when the connection is closed
}

// ResolveNow implements resolver.Resolver.
func (l *addressList) ResolveNow(resolver.ResolveNowOptions) {}

// Close implements resolver.Resolver.
func (l *addressList) Close() {}
