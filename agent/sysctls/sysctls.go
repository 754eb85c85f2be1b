// Package sysctls decides which kernel parameters pods may set. Those that are
// the pod's own and bear on no other pod are safe, and allowed to all; others are
// allowed where the node's administrator says so. It follows
// https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/
package sysctls

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/node/util/sysctl"
)

// safe are the parameters that every pod may set.
func safe() []string {
	return []string{
		"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
		"net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time",
		"net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem",
		"net.ipv4.tcp_wmem", "net.ipv4.tcp_slow_start_after_idle", "net.ipv4.tcp_notsent_lowat",
	}
}

// Allowed are the parameters that pods may set: the safe ones and more. The zero
// value is the safe ones alone.
type Allowed struct {
	names, prefixes []string
}

// Parse returns what is allowed beside the safe parameters: names, and prefixes
// that end in *. All must be of a namespace, so that nobody sets the node's.
func Parse(unsafe []string) (Allowed, error) {
	var a Allowed
	for _, pattern := range unsafe {
		namespace, name, prefix := sysctl.GetNamespace(pattern)
		switch {
		case namespace == sysctl.UnknownNamespace:
			return Allowed{}, fmt.Errorf("the sysctls %q are not known to be namespaced", pattern)
		case prefix:
			a.prefixes = append(a.prefixes, name)
		default:
			a.names = append(a.names, name)
		}
	}
	return a, nil
}

// Refuse says why a pod may not set what it wants to, in Kubernetes' words; it is
// empty if it may.
func (a Allowed) Refuse(pod *corev1.Pod) string {
	if pod.Spec.SecurityContext == nil {
		return ""
	}
	for _, s := range pod.Spec.SecurityContext.Sysctls {
		name := sysctl.NormalizeName(s.Name)
		if !a.has(name) {
			return fmt.Sprintf("forbidden sysctl: %q not allowlisted", name)
		}
		namespace, _, _ := sysctl.GetNamespace(name)
		if ofHost(&pod.Spec, namespace) {
			return fmt.Sprintf("forbidden sysctl: %q not allowed with host %s enabled", name, namespace)
		}
	}
	return ""
}

func (a Allowed) has(name string) bool {
	return slices.Contains(safe(), name) || slices.Contains(a.names, name) ||
		slices.ContainsFunc(a.prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// ofHost says whether a pod has no namespace of its own, but the host's.
func ofHost(spec *corev1.PodSpec, namespace sysctl.Namespace) bool {
	switch namespace {
	case sysctl.NetNamespace:
		return spec.HostNetwork
	case sysctl.IPCNamespace:
		return spec.HostIPC
	case sysctl.UserNamespace:
		return spec.HostUsers == nil || *spec.HostUsers
	}
	return false
}
