package certs

import "strings"

// zone is the DNS zone of the names that services' certificates carry. The
// names are never resolved: a caller dials an address and expects a name.
const zone = "navarch.internal"

// ServerName returns the name in the certificate of a service, for example
// "store.navarch.internal".
func ServerName(service string) string { return service + "." + zone }

// NodeServerName returns the name in the certificate of a node's agent.
func NodeServerName(node string) string { return node + ".node." + zone }

// NodeOf returns the node whose agent a name is that of.
func NodeOf(serverName string) (node string, ok bool) {
	return strings.CutSuffix(serverName, NodeServerName(""))
}

// Internal says whether a name is one of those that services know each other
// by.
func Internal(name string) bool {
	return strings.HasSuffix(strings.ToLower(strings.TrimSuffix(name, ".")), "."+zone)
}
