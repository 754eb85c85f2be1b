// Package identity says who makes a call. A server's interceptors put the
// caller's Identity into the context; authorization and admission read it
// there. Identities come from client certificates (CN is the name, O the
// groups), from tokens, or from the in-process connection that joins services
// of one process.
package identity

import (
	"context"
	"slices"
)

// The identities of Navarch's own services. The names and groups are
// Kubernetes' where it has one, so that the stock RBAC bindings apply.
const (
	Scheduler  = "system:kube-scheduler"
	Controller = "system:kube-controller-manager"
	Proxy      = "system:kube-proxy"
	Gateway    = "system:navarch:gateway"
	Store      = "system:navarch:store"
	// NodePrefix precedes the node's name in an agent's identity.
	NodePrefix = "system:node:"
	Anonymous  = "system:anonymous"

	GroupMasters         = "system:masters"
	GroupNodes           = "system:nodes"
	GroupAuthenticated   = "system:authenticated"
	GroupUnauthenticated = "system:unauthenticated"
	// GroupGateways may act for the users whose requests it forwards.
	GroupGateways = "system:navarch:gateways"
)

// Identity is an authenticated caller.
type Identity struct {
	Name   string
	UID    string
	Groups []string
	Extra  map[string][]string
}

// InGroup says whether the caller is in a group.
func (i Identity) InGroup(group string) bool { return slices.Contains(i.Groups, group) }

// NodeName returns the node that the caller is the agent of.
func (i Identity) NodeName() (string, bool) {
	if !i.InGroup(GroupNodes) || len(i.Name) <= len(NodePrefix) || i.Name[:len(NodePrefix)] != NodePrefix {
		return "", false
	}
	return i.Name[len(NodePrefix):], true
}

// Node returns the identity of a node's agent.
func Node(name string) Identity {
	return Identity{Name: NodePrefix + name, Groups: []string{GroupNodes, GroupAuthenticated}}
}

// Service returns the identity of one of Navarch's services, by its name
// constant.
func Service(name string) Identity {
	groups := []string{GroupAuthenticated}
	switch name {
	case Gateway:
		groups = append(groups, GroupGateways)
	case Store:
		groups = append(groups, GroupMasters)
	}
	return Identity{Name: name, Groups: groups}
}

type contextKey struct{}

// NewContext returns ctx with the caller's identity.
func NewContext(ctx context.Context, id Identity) context.Context {
	return context.WithValue(ctx, contextKey{}, id)
}

// FromContext returns the caller's identity; without one, it is Anonymous.
func FromContext(ctx context.Context) Identity {
	if id, ok := ctx.Value(contextKey{}).(Identity); ok {
		return id
	}
	return Identity{Name: Anonymous, Groups: []string{GroupUnauthenticated}}
}
