package runtime

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"navarch.dev/navarch/agent/apparmor"
	"navarch.dev/navarch/agent/userns"
)

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// specBuilder makes the OCI spec of one container.
type specBuilder struct {
	pod          *pod
	spec         ContainerSpec
	bundle       string
	targetPid    int // a process whose PID namespace is joined, 0 for none
	cgroup       string
	capabilities []string
	seccompDir   string
	cdiDirs      []string
	// appArmorDefault is Config's.
	appArmorDefault string
	minOOMScore     int
	cgroups         *cgroups
}

// build composes the spec.
func (b *specBuilder) build() (*specs.Spec, error) {
	process, err := b.process()
	if err != nil {
		return nil, err
	}
	linux, err := b.linux()
	if err != nil {
		return nil, err
	}
	spec := &specs.Spec{
		Version: specs.Version,
		Process: process,
		Root:    &specs.Root{Path: b.spec.RootFS, Readonly: b.spec.Security.ReadOnlyRootFS},
		Mounts:  b.mounts(),
		Linux:   linux,
	}
	if err := b.addSeccomp(spec); err != nil {
		return nil, err
	}
	return spec, b.addCDI(spec)
}

func (b *specBuilder) process() (*specs.Process, error) {
	args := b.args()
	if len(args) == 0 {
		return nil, fmt.Errorf("%w: no command specified", ErrInvalid)
	}
	user, err := resolveUser(b.spec.RootFS, b.spec.Image.User, b.spec.Security)
	if err != nil {
		return nil, err
	}
	capabilities, err := capabilitySet(b.spec.Security, b.capabilities)
	if err != nil {
		return nil, err
	}
	profile, err := b.appArmor()
	if err != nil {
		return nil, err
	}
	score := max(b.spec.OOMScoreAdj, b.minOOMScore)
	return &specs.Process{
		Terminal: b.spec.TTY,
		User:     user,
		Args:     args,
		Env:      b.env(),
		Cwd:      b.workingDir(),
		Capabilities: &specs.LinuxCapabilities{
			Bounding: capabilities, Effective: capabilities, Permitted: capabilities,
		},
		Rlimits:         b.rlimits(),
		NoNewPrivileges: b.spec.Security.NoNewPrivileges,
		ApparmorProfile: profile,
		OOMScoreAdj:     &score,
	}, nil
}

// args are the command in Kubernetes' terms: a command of the pod's discards
// both of the image's, arguments replace only the image's.
func (b *specBuilder) args() []string {
	if len(b.spec.Command) > 0 {
		return slices.Concat(b.spec.Command, b.spec.Args)
	}
	if len(b.spec.Args) > 0 {
		return slices.Concat(b.spec.Image.Entrypoint, b.spec.Args)
	}
	return slices.Concat(b.spec.Image.Entrypoint, b.spec.Image.Cmd)
}

// env has one entry for each name: the image's, replaced by the pod's.
func (b *specBuilder) env() []string {
	env := []string{defaultPath}
	if name := b.pod.hostname(); name != "" {
		env = append(env, "HOSTNAME="+name)
	}
	if b.spec.TTY {
		env = append(env, "TERM=xterm")
	}
	for _, entry := range b.spec.Image.Env {
		env = setEnv(env, entry)
	}
	for _, entry := range b.spec.Env {
		env = setEnv(env, entry.Name+"="+entry.Value)
	}
	return env
}

func setEnv(env []string, entry string) []string {
	name, _, _ := strings.Cut(entry, "=")
	at := slices.IndexFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
	if at < 0 {
		return append(env, entry)
	}
	env[at] = entry
	return env
}

func (b *specBuilder) workingDir() string {
	for _, dir := range []string{b.spec.WorkingDir, b.spec.Image.WorkingDir} {
		if dir != "" {
			return filepath.Join("/", dir)
		}
	}
	return "/"
}

func (b *specBuilder) rlimits() []specs.POSIXRlimit {
	var limits []specs.POSIXRlimit
	for _, name := range slices.Sorted(maps.Keys(b.spec.Rlimits)) {
		limit := b.spec.Rlimits[name]
		limits = append(limits, specs.POSIXRlimit{Type: "RLIMIT_" + name, Soft: limit.Soft, Hard: limit.Hard})
	}
	return limits
}

func (b *specBuilder) linux() (*specs.Linux, error) {
	linux := &specs.Linux{
		Namespaces:  b.namespaces(),
		CgroupsPath: "/" + b.cgroup,
		Resources:   b.cgroups.oci(b.spec.Resources),
		Sysctl:      b.pod.spec.Sysctls,
		UIDMappings: idMappings(b.pod.spec.Users), GIDMappings: idMappings(b.pod.spec.Users),
	}
	linux.RootfsPropagation = rootPropagation(b.spec.Mounts)
	if !b.spec.Security.Privileged && !b.spec.Security.UnmaskedProc {
		linux.MaskedPaths, linux.ReadonlyPaths = maskedPaths, readonlyPaths
	}
	return linux, b.addDevices(linux)
}

// idMappings are a pod's own users, the groups of the same numbers included.
func idMappings(users *userns.Range) []specs.LinuxIDMapping {
	if users == nil {
		return nil
	}
	return []specs.LinuxIDMapping{{ContainerID: 0, HostID: users.First, Size: users.Length}}
}

var maskedPaths = []string{
	"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
	"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap",
	"/sys/firmware",
}

var readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}

func (b *specBuilder) namespaces() []specs.LinuxNamespace {
	namespaces := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	pause := b.pod.identity.Pause.Pid
	join := func(kind specs.LinuxNamespaceType, pid int, name string) {
		path := fmt.Sprintf("/proc/%d/ns/%s", pid, name)
		namespaces = append(namespaces, specs.LinuxNamespace{Type: kind, Path: path})
	}
	if b.pod.spec.Users != nil {
		join(specs.UserNamespace, pause, "user")
	}
	switch {
	case b.pod.spec.ownNetwork():
		join(specs.NetworkNamespace, pause, "net")
	case b.pod.spec.NetNSPath != "":
		namespaces = append(namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: b.pod.spec.NetNSPath})
	}
	if b.cgroups.unified != "" && !b.spec.Security.Privileged {
		// The container sees its own cgroup as the root, where programs look for their limits.
		namespaces = append(namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	if !b.pod.spec.HostNetwork {
		join(specs.UTSNamespace, pause, "uts")
	}
	if !b.pod.spec.HostIPC {
		join(specs.IPCNamespace, pause, "ipc")
	}
	switch {
	case b.pod.spec.HostPID:
	case b.pod.spec.ShareProcessNamespace:
		join(specs.PIDNamespace, pause, "pid")
	case b.targetPid != 0:
		join(specs.PIDNamespace, b.targetPid, "pid")
	default:
		namespaces = append(namespaces, specs.LinuxNamespace{Type: specs.PIDNamespace})
	}
	return namespaces
}

// addSeccomp adds the system call filter. The default one depends on the
// capabilities, so it comes last.
func (b *specBuilder) addSeccomp(spec *specs.Spec) error {
	if b.spec.Security.Privileged {
		return nil
	}
	var err error
	switch b.spec.Security.Seccomp {
	case "", SeccompUnconfined:
	case SeccompRuntimeDefault:
		spec.Linux.Seccomp, err = seccomp.GetDefaultProfile(spec)
	case SeccompLocalhost:
		spec.Linux.Seccomp, err = b.localProfile(spec)
	default:
		err = fmt.Errorf("%w: seccomp profile type %q", ErrInvalid, b.spec.Security.Seccomp)
	}
	if err != nil {
		return fmt.Errorf("seccomp profile: %w", err)
	}
	return nil
}

// appArmor is the profile of AppArmor that confines the container; empty is none.
func (b *specBuilder) appArmor() (string, error) {
	switch security := b.spec.Security; security.AppArmor {
	case AppArmorUnconfined:
		return "", nil
	case "", AppArmorRuntimeDefault:
		if security.Privileged {
			return "", nil
		}
		return b.appArmorDefault, nil
	case AppArmorLocalhost:
		return security.AppArmorProfile, apparmor.Loaded(security.AppArmorProfile)
	default:
		return "", fmt.Errorf("%w: AppArmor profile type %q", ErrInvalid, security.AppArmor)
	}
}

func (b *specBuilder) localProfile(spec *specs.Spec) (*specs.LinuxSeccomp, error) {
	name := b.spec.Security.SeccompProfile
	if !filepath.IsLocal(name) {
		return nil, fmt.Errorf("%w: seccomp profile %q is not below the node's folder of profiles", ErrInvalid, name)
	}
	profile, err := os.ReadFile(filepath.Join(b.seccompDir, name))
	if err != nil {
		return nil, err
	}
	return seccomp.LoadProfile(string(profile), spec)
}

// execProcess is a command's process: the container's own with another command.
func execProcess(bundle string, opts ExecOptions) (json.RawMessage, error) {
	var spec specs.Spec
	data, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		return nil, fmt.Errorf("read the container's spec: %w", err)
	}
	if err := json.Unmarshal(data, &spec); err != nil {
		return nil, fmt.Errorf("read the container's spec: %w", err)
	}
	process := spec.Process
	process.Args, process.Terminal = opts.Command, opts.TTY
	if opts.TTY {
		process.Env = setEnv(process.Env, "TERM=xterm")
	}
	return json.Marshal(process)
}
