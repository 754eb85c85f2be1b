package podworker

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/runtime"
)

// hostname returns the pod's hostname.
func (m *Manager) hostname(pod *corev1.Pod) string {
	switch {
	case pod.Spec.HostNetwork:
		return m.cfg.NodeName
	case pod.Spec.HostnameOverride != nil:
		return *pod.Spec.HostnameOverride
	case pod.Spec.SetHostnameAsFQDN != nil && *pod.Spec.SetHostnameAsFQDN && m.fqdn(pod) != "":
		return m.fqdn(pod)
	case pod.Spec.Hostname != "":
		return pod.Spec.Hostname
	}
	const longest = 63
	name := pod.Name
	if len(name) > longest {
		name = strings.TrimRight(name[:longest], "-.")
	}
	return name
}

// fqdn returns the pod's full name, if it has a subdomain. A name that overrides
// all others is in none.
func (m *Manager) fqdn(pod *corev1.Pod) string {
	if pod.Spec.Subdomain == "" || pod.Spec.HostnameOverride != nil {
		return ""
	}
	host := pod.Spec.Hostname
	if host == "" {
		host = pod.Name
	}
	return strings.Join([]string{host, pod.Spec.Subdomain, pod.Namespace, "svc", m.cfg.ClusterDomain}, ".")
}

func (m *Manager) hostsPath(uid string) string { return filepath.Join(m.cfg.PodsDir, uid, "hosts") }

// writeHosts makes the pod's /etc/hosts, as yet without its address if that
// is not known. It is written in place, because containers mount the file.
func (m *Manager) writeHosts(pod *corev1.Pod, ips []netip.Addr) error {
	if m.cfg.PodsDir == "" {
		return nil
	}
	path := m.hostsPath(string(pod.UID))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make the pod's folder: %w", err)
	}
	if ips == nil {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
	}
	content, err := m.hosts(pod, ips)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		return fmt.Errorf("write the pod's hosts file: %w", err)
	}
	return nil
}

// fillHosts adds the pod's addresses once they are known.
func (m *Manager) fillHosts(pod *corev1.Pod, ips []netip.Addr) error { return m.writeHosts(pod, ips) }

func (m *Manager) hosts(pod *corev1.Pod, ips []netip.Addr) ([]byte, error) {
	var b bytes.Buffer
	if pod.Spec.HostNetwork {
		own, err := os.ReadFile("/etc/hosts")
		if err != nil && !os.IsNotExist(err) {
			return nil, fmt.Errorf("read the node's hosts file: %w", err)
		}
		b.Write(own)
	} else {
		b.WriteString("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
			"fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n")
		names := m.hostname(pod)
		if full := m.fqdn(pod); full != "" && full != names {
			names = full + "\t" + names
		}
		for _, ip := range ips {
			fmt.Fprintf(&b, "%s\t%s\n", ip, names)
		}
	}
	if len(pod.Spec.HostAliases) > 0 {
		b.WriteString("\n# Entries added by HostAliases.\n")
	}
	for _, a := range pod.Spec.HostAliases {
		fmt.Fprintf(&b, "%s\t%s\n", a.IP, strings.Join(a.Hostnames, "\t"))
	}
	return b.Bytes(), nil
}

// withHosts adds the mount of /etc/hosts, unless the container mounts its own.
func (m *Manager) withHosts(pod *corev1.Pod, c *corev1.Container, mounts []runtime.Mount) []runtime.Mount {
	const target = "/etc/hosts"
	if m.cfg.PodsDir == "" || slices.ContainsFunc(mounts, func(mt runtime.Mount) bool { return filepath.Clean(mt.ContainerPath) == target }) {
		return mounts
	}
	readOnly := c.SecurityContext != nil && c.SecurityContext.ReadOnlyRootFilesystem != nil && *c.SecurityContext.ReadOnlyRootFilesystem
	return append(mounts, runtime.Mount{HostPath: m.hostsPath(string(pod.UID)), ContainerPath: target, ReadOnly: readOnly})
}

// dns returns the pod's resolv.conf by its policy.
func (m *Manager) dns(pod *corev1.Pod) (runtime.DNS, error) {
	var d runtime.DNS
	policy := pod.Spec.DNSPolicy
	if policy == corev1.DNSClusterFirst && pod.Spec.HostNetwork || policy == "" && pod.Spec.HostNetwork {
		policy = corev1.DNSDefault
	}
	if policy != corev1.DNSNone {
		host, err := readResolvConf(m.cfg.HostResolvConf)
		if err != nil {
			return d, err
		}
		d = host
		if policy != corev1.DNSDefault && len(m.cfg.DNSServers) > 0 {
			domain := m.cfg.ClusterDomain
			d.Servers = slices.Clone(m.cfg.DNSServers)
			d.Searches = append([]string{pod.Namespace + ".svc." + domain, "svc." + domain, domain}, host.Searches...)
			d.Options = mergeOptions(host.Options, []string{"ndots:5"})
		}
	}
	if c := pod.Spec.DNSConfig; c != nil {
		d.Servers = unique(append(d.Servers, c.Nameservers...))
		d.Searches = unique(append(d.Searches, c.Searches...))
		var extra []string
		for _, o := range c.Options {
			if o.Value != nil && *o.Value != "" {
				extra = append(extra, o.Name+":"+*o.Value)
			} else {
				extra = append(extra, o.Name)
			}
		}
		d.Options = mergeOptions(d.Options, extra)
	}
	return d, nil
}

// maxResolvConf bounds what is read of the node's resolv.conf.
const maxResolvConf = 64 << 10

func readResolvConf(path string) (runtime.DNS, error) {
	b, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return runtime.DNS{}, nil
	}
	if err != nil {
		return runtime.DNS{}, fmt.Errorf("read the node's resolv.conf: %w", err)
	}
	return parseResolvConf(b[:min(len(b), maxResolvConf)]), nil
}

func parseResolvConf(b []byte) runtime.DNS {
	var d runtime.DNS
	for line := range strings.Lines(string(b)) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			d.Servers = append(d.Servers, words[1])
		case "search", "domain":
			d.Searches = unique(slices.DeleteFunc(words[1:], func(s string) bool { return s == "." }))
		case "options":
			d.Options = append(d.Options, words[1:]...)
		}
	}
	return d
}

// mergeOptions adds options; one with a name that is there replaces it.
func mergeOptions(have, extra []string) []string {
	out := slices.Clone(have)
	for _, o := range extra {
		name, _, _ := strings.Cut(o, ":")
		out = slices.DeleteFunc(out, func(other string) bool {
			n, _, _ := strings.Cut(other, ":")
			return n == name
		})
		out = append(out, o)
	}
	return out
}

func unique(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
