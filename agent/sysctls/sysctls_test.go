package sysctls

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestRefuse(t *testing.T) {
	for _, c := range []struct {
		name, sysctl string
		unsafe       []string
		change       func(*corev1.PodSpec)
		want         string
	}{
		{name: "safe", sysctl: "net.ipv4.ip_unprivileged_port_start"},
		{name: "safe, with slashes", sysctl: "kernel/shm_rmid_forced"},
		{name: "unsafe", sysctl: "kernel.msgmax", want: `forbidden sysctl: "kernel.msgmax" not allowlisted`},
		{name: "the node's", sysctl: "vm.swappiness", unsafe: []string{"net.*"}, want: `forbidden sysctl: "vm.swappiness" not allowlisted`},
		{name: "allowed", sysctl: "kernel.msgmax", unsafe: []string{"kernel.msgmax"}},
		{name: "allowed by its beginning", sysctl: "net/core/somaxconn", unsafe: []string{"kernel.msg*", "net.core.*"}},
		{name: "another beginning", sysctl: "net.core.somaxconn", unsafe: []string{"net.ipv4.*"}, want: `forbidden sysctl: "net.core.somaxconn" not allowlisted`},
		{name: "in the host's network", sysctl: "net.ipv4.tcp_rmem", change: func(s *corev1.PodSpec) { s.HostNetwork = true },
			want: `forbidden sysctl: "net.ipv4.tcp_rmem" not allowed with host Net enabled`},
		{name: "in the host's IPC", sysctl: "kernel.shm_rmid_forced", change: func(s *corev1.PodSpec) { s.HostIPC = true },
			want: `forbidden sysctl: "kernel.shm_rmid_forced" not allowed with host IPC enabled`},
		{name: "of the host's users", sysctl: "user.max_user_namespaces", unsafe: []string{"user.*"},
			want: `forbidden sysctl: "user.max_user_namespaces" not allowed with host User enabled`},
		{name: "of its own users", sysctl: "user.max_user_namespaces", unsafe: []string{"user.*"}, change: func(s *corev1.PodSpec) { s.HostUsers = new(false) }},
	} {
		a, err := Parse(c.unsafe)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		pod := &corev1.Pod{Spec: corev1.PodSpec{SecurityContext: &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: c.sysctl, Value: "1"}}}}}
		if c.change != nil {
			c.change(&pod.Spec)
		}
		if got := a.Refuse(pod); got != c.want {
			t.Errorf("%s: %q, not %q", c.name, got, c.want)
		}
	}
	if got := (Allowed{}).Refuse(&corev1.Pod{}); got != "" {
		t.Errorf("a pod that sets none: %q", got)
	}
}

func TestParseRefusesTheNodesOwn(t *testing.T) {
	for _, pattern := range []string{"vm.swappiness", "kernel.*", "*", ""} {
		if _, err := Parse([]string{pattern}); err == nil {
			t.Errorf("%q is allowed to pods", pattern)
		}
	}
}
