package runtime

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// capabilityNames are Linux's capabilities by number.
var capabilityNames = [...]string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
	"LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
	"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
	"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
	"MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
	"CHECKPOINT_RESTORE",
}

// defaultCapabilities are what a container has that asks for nothing.
var defaultCapabilities = []string{
	"CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
	"NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
}

// ownCapabilities returns the capabilities that the agent could hand on: asking
// runc for others would fail.
func ownCapabilities() ([]string, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil, fmt.Errorf("read own capabilities: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "CapBnd:"); ok {
			return parseCapabilities(strings.TrimSpace(value))
		}
	}
	return nil, fmt.Errorf("read own capabilities: no CapBnd in /proc/self/status")
}

// capabilitiesFor are those that a pod's containers may have. Root of a user
// namespace has all of them in it, those that the agent lacks included.
func (r *Runc) capabilitiesFor(p *pod) []string {
	if p.spec.Users != nil {
		return r.kernelCapabilities
	}
	return r.capabilities
}

// kernelCapabilities returns all that the kernel has.
func kernelCapabilities() ([]string, error) {
	const path = "/proc/sys/kernel/cap_last_cap"
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's capabilities: %w", err)
	}
	last, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return capabilityNames[:min(last+1, len(capabilityNames))], nil
}

func parseCapabilities(hexadecimal string) ([]string, error) {
	set, err := strconv.ParseUint(hexadecimal, 16, 64)
	if err != nil {
		return nil, fmt.Errorf("read own capabilities: %w", err)
	}
	var names []string
	for number, name := range capabilityNames {
		if set&(1<<number) != 0 {
			names = append(names, name)
		}
	}
	return names, nil
}

// capabilitySet computes a container's capabilities, with the prefix "CAP_", out
// of those there are.
func capabilitySet(security Security, available []string) ([]string, error) {
	wanted := slices.Clone(defaultCapabilities)
	if security.Privileged {
		wanted = slices.Clone(available)
	}
	drop, err := normalizeCapabilities(security.DropCapabilities)
	if err != nil {
		return nil, err
	}
	add, err := normalizeCapabilities(security.AddCapabilities)
	if err != nil {
		return nil, err
	}
	// Naming one wins over ALL in the other list.
	switch {
	case slices.Contains(add, "ALL"):
		wanted = slices.Clone(available)
	case slices.Contains(drop, "ALL"):
		wanted = nil
	}
	wanted = slices.DeleteFunc(wanted, func(name string) bool { return slices.Contains(drop, name) })
	wanted = append(wanted, add...)
	var set []string
	for _, name := range available {
		if slices.Contains(wanted, name) {
			set = append(set, "CAP_"+name)
		}
	}
	return set, nil
}

func normalizeCapabilities(names []string) ([]string, error) {
	normal := make([]string, 0, len(names))
	for _, name := range names {
		upper := strings.TrimPrefix(strings.ToUpper(name), "CAP_")
		if upper != "ALL" && !slices.Contains(capabilityNames[:], upper) {
			return nil, fmt.Errorf("%w: unknown capability %q", ErrInvalid, name)
		}
		normal = append(normal, upper)
	}
	return normal, nil
}
