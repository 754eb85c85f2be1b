package podsecurity

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

func appArmorProfile(p pod) *Violation {
	var bad offenders
	forbidden := func(profile *corev1.AppArmorProfile) bool {
		if profile == nil || profile.Type == corev1.AppArmorProfileTypeRuntimeDefault || profile.Type == corev1.AppArmorProfileTypeLocalhost {
			return false
		}
		bad.with(string(profile.Type))
		return true
	}
	bad.pod = forbidden(p.context().AppArmorProfile)
	bad.containers = p.blame(func(c *corev1.SecurityContext) bool { return forbidden(c.AppArmorProfile) })
	values := bad.sortedValues()
	var annotations []string
	for _, key := range slices.Sorted(maps.Keys(p.annotations)) {
		value := p.annotations[key]
		if strings.HasPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix) && value != "" &&
			value != corev1.DeprecatedAppArmorBetaProfileRuntimeDefault && !strings.HasPrefix(value, corev1.DeprecatedAppArmorBetaProfileNamePrefix) {
			annotations = append(annotations, fmt.Sprintf("%s=%q", key, value))
		}
	}
	var setters []string
	if bad.any() {
		setters = append(setters, bad.String())
	}
	if len(annotations) > 0 {
		setters = append(setters, number(len(annotations), "annotation", "annotations"))
		values = append(values, annotations...)
	}
	if len(setters) == 0 {
		return nil
	}
	return &Violation{
		number(len(values), "forbidden AppArmor profile", "forbidden AppArmor profiles"),
		fmt.Sprintf("%s must not set AppArmor profile type to %s", strings.Join(setters, " and "), quoted(values)),
	}
}

// usualCapabilities are those that container runtimes give by default.
func usualCapabilities() []corev1.Capability {
	return []corev1.Capability{
		"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
	}
}

// adding returns the containers that add capabilities beyond those allowed.
func adding(p pod, allowed []corev1.Capability) offenders {
	var bad offenders
	bad.containers = p.blame(func(c *corev1.SecurityContext) bool {
		if c.Capabilities == nil {
			return false
		}
		beyond := false
		for _, capability := range c.Capabilities.Add {
			if !slices.Contains(allowed, capability) {
				bad.with(string(capability))
				beyond = true
			}
		}
		return beyond
	})
	return bad
}

func addedText(bad offenders) string {
	return fmt.Sprintf("%s must not include %s in securityContext.capabilities.add", bad.String(), quoted(bad.sortedValues()))
}

func defaultCapabilities(p pod) *Violation {
	if bad := adding(p, usualCapabilities()); bad.any() {
		return &Violation{"non-default capabilities", addedText(bad)}
	}
	return nil
}

func hostNamespaces(p pod) *Violation {
	var shared []string
	for _, n := range []struct {
		shared bool
		name   string
	}{{p.HostNetwork, "hostNetwork=true"}, {p.HostPID, "hostPID=true"}, {p.HostIPC, "hostIPC=true"}} {
		if n.shared {
			shared = append(shared, n.name)
		}
	}
	if len(shared) == 0 {
		return nil
	}
	return &Violation{"host namespaces", strings.Join(shared, ", ")}
}

func hostPathVolumes(p pod) *Violation {
	var names []string
	for _, v := range p.Volumes {
		if v.HostPath != nil {
			names = append(names, v.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return &Violation{"hostPath volumes", number(len(names), "volume", "volumes") + " " + quoted(names)}
}

func hostPorts(p pod) *Violation {
	var bad offenders
	for _, c := range p.containers() {
		uses := false
		for _, port := range c.Ports {
			if port.HostPort != 0 {
				uses = true
				bad.with(strconv.Itoa(int(port.HostPort)))
			}
		}
		if uses {
			bad.containers = append(bad.containers, c.Name)
		}
	}
	if !bad.any() {
		return nil
	}
	ports := bad.sortedValues()
	return &Violation{"hostPort", fmt.Sprintf("%s %s %s %s", bad.String(), number(len(bad.containers), "uses", "use"),
		number(len(ports), "hostPort", "hostPorts"), strings.Join(ports, ", "))}
}

// handlerHosts finds probes and lifecycle handlers that make the node call
// somewhere else than the pod.
func handlerHosts(p pod) *Violation {
	var bad offenders
	for _, c := range p.containers() {
		hosts := handledHosts(c)
		for _, host := range hosts {
			bad.with(host)
		}
		if len(hosts) > 0 && !slices.Contains(bad.containers, c.Name) {
			bad.containers = append(bad.containers, c.Name)
		}
	}
	if !bad.any() {
		return nil
	}
	slices.Sort(bad.containers)
	hosts := bad.sortedValues()
	return &Violation{"probe or lifecycle host", fmt.Sprintf("%s %s %s %s", bad.String(), number(len(bad.containers), "uses", "use"),
		number(len(hosts), "probe or lifecycle host", "probe or lifecycle hosts"), quoted(hosts))}
}

// handledHosts returns the hosts that a container's handlers name.
func handledHosts(c *corev1.Container) []string {
	var hosts []string
	add := func(get *corev1.HTTPGetAction, socket *corev1.TCPSocketAction) {
		if get != nil && get.Host != "" {
			hosts = append(hosts, get.Host)
		}
		if socket != nil && socket.Host != "" {
			hosts = append(hosts, socket.Host)
		}
	}
	for _, probe := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if probe != nil {
			add(probe.HTTPGet, probe.TCPSocket)
		}
	}
	if c.Lifecycle == nil {
		return hosts
	}
	for _, handler := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
		if handler != nil {
			add(handler.HTTPGet, handler.TCPSocket)
		}
	}
	return hosts
}

func privilegedContainers(p pod) *Violation {
	bad := p.blame(func(c *corev1.SecurityContext) bool { return ptr.Deref(c.Privileged, false) })
	if len(bad) == 0 {
		return nil
	}
	return &Violation{"privileged", containerNames(bad) + " must not set securityContext.privileged=true"}
}

func procMount(p pod) *Violation {
	var bad offenders
	bad.containers = p.blame(func(c *corev1.SecurityContext) bool {
		if c.ProcMount == nil || *c.ProcMount == corev1.DefaultProcMount {
			return false
		}
		bad.with(string(*c.ProcMount))
		return true
	})
	if !bad.any() {
		return nil
	}
	return &Violation{"procMount", fmt.Sprintf("%s must not set securityContext.procMount to %s", bad.String(), quoted(bad.sortedValues()))}
}

func procMountUnlessOwnUsers(p pod) *Violation {
	if p.version >= 35 && p.ownUsers() {
		return nil
	}
	return procMount(p)
}

func seLinuxOptions(p pod) *Violation {
	allowed := []string{"", "container_t", "container_init_t", "container_kvm_t"}
	if p.version >= 31 {
		allowed = append(allowed, "container_engine_t")
	}
	var bad offenders
	var user, role bool
	forbidden := func(o *corev1.SELinuxOptions) bool {
		if o == nil {
			return false
		}
		wrongType := !slices.Contains(allowed, o.Type)
		if wrongType {
			bad.with(o.Type)
		}
		user, role = user || o.User != "", role || o.Role != ""
		return wrongType || o.User != "" || o.Role != ""
	}
	bad.pod = forbidden(p.context().SELinuxOptions)
	bad.containers = p.blame(func(c *corev1.SecurityContext) bool { return forbidden(c.SELinuxOptions) })
	if !bad.any() {
		return nil
	}
	var faults []string
	if types := bad.sortedValues(); len(types) > 0 {
		faults = append(faults, number(len(types), "type", "types")+" "+quoted(types))
	}
	if user {
		faults = append(faults, "user may not be set")
	}
	if role {
		faults = append(faults, "role may not be set")
	}
	return &Violation{"seLinuxOptions", fmt.Sprintf("%s set forbidden securityContext.seLinuxOptions: %s", bad.String(), strings.Join(faults, "; "))}
}

// safeSysctls returns the sysctls that touch nothing beyond the pod.
func safeSysctls(version Version) []string {
	safe := []string{
		"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start",
	}
	for _, later := range []struct {
		since Version
		names []string
	}{
		{27, []string{"net.ipv4.ip_local_reserved_ports"}},
		{29, []string{"net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes"}},
		{32, []string{"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}},
		{37, []string{"net.ipv4.tcp_slow_start_after_idle", "net.ipv4.tcp_notsent_lowat"}},
	} {
		if version >= later.since {
			safe = append(safe, later.names...)
		}
	}
	return safe
}

func sysctls(p pod) *Violation {
	safe := safeSysctls(p.version)
	var forbidden []string
	for _, s := range p.context().Sysctls {
		if !slices.Contains(safe, s.Name) {
			forbidden = append(forbidden, s.Name)
		}
	}
	if len(forbidden) == 0 {
		return nil
	}
	return &Violation{"forbidden sysctls", strings.Join(forbidden, ", ")}
}

func windowsHostProcess(p pod) *Violation {
	onHost := func(o *corev1.WindowsSecurityContextOptions) bool { return o != nil && ptr.Deref(o.HostProcess, false) }
	bad := offenders{pod: onHost(p.context().WindowsOptions)}
	bad.containers = p.blame(func(c *corev1.SecurityContext) bool { return onHost(c.WindowsOptions) })
	if !bad.any() {
		return nil
	}
	return &Violation{"hostProcess", bad.String() + " must not set securityContext.windowsOptions.hostProcess=true"}
}
