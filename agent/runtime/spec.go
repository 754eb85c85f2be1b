package runtime

import (
	"cmp"
	"syscall"
	"time"

	imagespec "github.com/google/go-containerregistry/pkg/v1"

	"navarch.dev/navarch/agent/userns"
)

// Signal is a signal's number.
type Signal = syscall.Signal

// SandboxSpec says what the containers of a pod share.
type SandboxSpec struct {
	// UID is the pod's, or any other name that fits a file name. One sandbox at a
	// time has it.
	UID string `json:"uid"`
	// Namespace, Name and Attempt are kept for the caller.
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Attempt   uint32 `json:"attempt"`
	// Annotations are kept for the caller.
	Annotations map[string]string `json:"annotations,omitempty"`

	// Hostname is set in the UTS namespace. With HostNetwork the pod keeps the
	// node's UTS namespace and this is ignored.
	Hostname string `json:"hostname,omitempty"`
	// NetNSPath is a pinned network namespace (NewNetNS). Empty means the one of
	// the agent: HostNetwork, of its node.
	NetNSPath string `json:"netnsPath,omitempty"`
	// HostNetwork, HostPID and HostIPC leave out the pod's own namespace.
	HostNetwork bool `json:"hostNetwork,omitempty"`
	HostPID     bool `json:"hostPID,omitempty"`
	HostIPC     bool `json:"hostIPC,omitempty"`
	// Users are the pod's own: its containers are in a user namespace in which these
	// IDs of the node begin at 0. The pod's other namespaces belong to it, and so the
	// network namespace is made with the sandbox, not before: NetNSPath is empty, and
	// PausePid tells where it is. nil leaves the pod the node's users.
	Users *userns.Range `json:"users,omitempty"`
	// ShareProcessNamespace gives all containers the pause process's PID namespace.
	ShareProcessNamespace bool `json:"shareProcessNamespace,omitempty"`
	// DNS becomes /etc/resolv.conf. The zero value leaves the image's file alone.
	DNS DNS `json:"dns,omitzero"`
	// Sysctls are set in every container of the pod; only namespaced ones can be.
	Sysctls map[string]string `json:"sysctls,omitempty"`
	// Resources are the limits of the pod as a whole; the zero value sets none.
	Resources Resources `json:"resources,omitzero"`
	// Fence stops the pod when the node has lost the Store; nil leaves it alone.
	Fence *Fence `json:"fence,omitempty"`
}

// ownNetwork says that the network namespace is made with the sandbox.
func (s SandboxSpec) ownNetwork() bool { return s.Users != nil && !s.HostNetwork && s.NetNSPath == "" }

// Fence says when the node's fence (Config.FencePath) closes over a pod.
type Fence struct {
	// After is how long after the fence's last renewal the containers are dead,
	// Grace how long before that they get SIGTERM.
	After time.Duration `json:"after"`
	Grace time.Duration `json:"grace"`
}

// DNS is the content of a resolv.conf.
type DNS struct {
	Servers  []string `json:"servers,omitempty"`
	Searches []string `json:"searches,omitempty"`
	Options  []string `json:"options,omitempty"`
}

// Resources are cgroup limits. A zero field sets no limit.
type Resources struct {
	// CPUShares is the relative weight (1024 per CPU; 2 is the least).
	CPUShares uint64 `json:"cpuShares,omitempty"`
	// CPUQuota is CPU time in microseconds per CPUPeriod (default 100000).
	CPUQuota  int64  `json:"cpuQuota,omitempty"`
	CPUPeriod uint64 `json:"cpuPeriod,omitempty"`
	// MemoryLimit is in bytes. Swap is never allowed beyond it.
	MemoryLimit int64 `json:"memoryLimit,omitempty"`
	// PidsLimit bounds the number of tasks.
	PidsLimit int64 `json:"pidsLimit,omitempty"`
	// CPUSet pins to CPUs ("0-3,7").
	CPUSet string `json:"cpuSet,omitempty"`
}

// Updated returns r changed by another's fields that are not zero.
func (r Resources) Updated(by Resources) Resources {
	return Resources{
		CPUShares: cmp.Or(by.CPUShares, r.CPUShares), CPUQuota: cmp.Or(by.CPUQuota, r.CPUQuota), CPUPeriod: cmp.Or(by.CPUPeriod, r.CPUPeriod),
		MemoryLimit: cmp.Or(by.MemoryLimit, r.MemoryLimit), PidsLimit: cmp.Or(by.PidsLimit, r.PidsLimit), CPUSet: cmp.Or(by.CPUSet, r.CPUSet),
	}
}

// SharesForMilliCPU converts a CPU request to CPUShares.
func SharesForMilliCPU(milli int64) uint64 {
	return uint64(min(max(milli*1024/1000, 2), 262144))
}

// QuotaForMilliCPU converts a CPU limit to CPUQuota over the default period; 0 is
// no limit.
func QuotaForMilliCPU(milli int64) int64 {
	if milli <= 0 {
		return 0
	}
	return max(milli*defaultCPUPeriod/1000, 1000)
}

// MilliCPUForShares and MilliCPUForQuota turn the conversions around, as far as
// rounding allows.
func MilliCPUForShares(shares uint64) int64 { return int64((shares*1000 + 1023) / 1024) }

// MilliCPUForQuota is for a quota over the default period.
func MilliCPUForQuota(quota int64) int64 { return quota * 1000 / defaultCPUPeriod }

const defaultCPUPeriod = 100_000

// ContainerSpec says what to run.
type ContainerSpec struct {
	// ID names the container on this node; NewID makes one.
	ID string `json:"id"`
	// Name is the container's in the pod; Attempt counts its restarts. Both, and
	// Annotations, are kept for the caller.
	Name        string            `json:"name"`
	Attempt     uint32            `json:"attempt"`
	Annotations map[string]string `json:"annotations,omitempty"`

	// ImageID is kept for the caller.
	ImageID string `json:"imageID,omitempty"`
	// Image is the image's configuration: defaults for what is unset below.
	Image imagespec.Config `json:"image"`
	// RootFS is the mounted root filesystem (image.Store.Mount).
	RootFS string `json:"rootfs"`

	// Command replaces the image's entrypoint (and its command), Args its command.
	Command []string `json:"command,omitempty"`
	Args    []string `json:"args,omitempty"`
	// Env is added to the image's; later entries of a name win.
	Env []EnvVar `json:"env,omitempty"`
	// WorkingDir replaces the image's.
	WorkingDir string `json:"workingDir,omitempty"`
	// TTY gives the container a terminal. Stdin keeps its input open for Attach,
	// StdinOnce closes it after the first one.
	TTY       bool `json:"tty,omitempty"`
	Stdin     bool `json:"stdin,omitempty"`
	StdinOnce bool `json:"stdinOnce,omitempty"`

	// Mounts are added to the usual ones (/proc, /dev, /sys, /dev/shm,
	// /etc/resolv.conf, /etc/hostname); one with the same target replaces it. The
	// caller mounts /etc/hosts itself.
	Mounts []Mount `json:"mounts,omitempty"`
	// Devices are host devices made available.
	Devices []Device `json:"devices,omitempty"`

	// CDIDevices are names of the Container Device Interface, "vendor.com/class=name",
	// of devices that are made available with what they need.
	CDIDevices []string `json:"cdiDevices,omitempty"`

	// TargetID is a running container of the same sandbox whose processes it sees
	// and shares the PID namespace of. Empty: its own, or the sandbox's.
	TargetID string `json:"targetID,omitempty"`

	// Security says as whom it runs and what it may do.
	Security Security `json:"security"`
	// User is as whom its first process began, by what Security and the image say.
	// The runtime fills it in.
	User *User `json:"user,omitempty"`

	// Resources are the container's limits.
	Resources Resources `json:"resources,omitzero"`
	// OOMScoreAdj is raised to the lowest value the agent itself may set.
	OOMScoreAdj int `json:"oomScoreAdj,omitempty"`
	// Rlimits by name without the prefix: "NOFILE".
	Rlimits map[string]Rlimit `json:"rlimits,omitempty"`

	// LogPath is the CRI log file. Its folder is made. Empty: no log.
	LogPath string `json:"logPath,omitempty"`
	// TerminationMessagePath is where in the container a message can be left that
	// ContainerStatus returns after its end. Empty: none.
	TerminationMessagePath string `json:"terminationMessagePath,omitempty"`
}

// EnvVar is an environment variable.
type EnvVar struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Propagation says which mounts are seen through a Mount.
type Propagation string

const (
	// PropagationPrivate: none, in either direction. The default.
	PropagationPrivate Propagation = "private"
	// PropagationHostToContainer: later mounts of the host appear.
	PropagationHostToContainer Propagation = "hostToContainer"
	// PropagationBidirectional: mounts of the container appear on the host, too.
	PropagationBidirectional Propagation = "bidirectional"
)

// Mount binds a file or folder of the host into the container.
type Mount struct {
	HostPath      string `json:"hostPath"`
	ContainerPath string `json:"containerPath"`
	ReadOnly      bool   `json:"readOnly,omitempty"`
	// RecursiveReadOnly makes the mounts below read-only as well.
	RecursiveReadOnly bool `json:"recursiveReadOnly,omitempty"`
	// OwnUsers says that the files belong to the pod's own users already.
	OwnUsers    bool        `json:"ownUsers,omitempty"`
	Propagation Propagation `json:"propagation,omitempty"`
}

// Device is a host device.
type Device struct {
	HostPath      string `json:"hostPath"`
	ContainerPath string `json:"containerPath"`
	// Permissions is a choice of "rwm".
	Permissions string `json:"permissions"`
}

// Rlimit is a resource limit.
type Rlimit struct {
	Soft uint64 `json:"soft"`
	Hard uint64 `json:"hard"`
}

// SeccompType chooses a container's system call filter.
type SeccompType string

const (
	// SeccompUnconfined filters nothing. The default.
	SeccompUnconfined SeccompType = "Unconfined"
	// SeccompRuntimeDefault is the default profile that container runtimes share.
	SeccompRuntimeDefault SeccompType = "RuntimeDefault"
	// SeccompLocalhost is a profile file of the node.
	SeccompLocalhost SeccompType = "Localhost"
)

// AppArmorType chooses a container's profile of AppArmor.
type AppArmorType string

const (
	// AppArmorRuntimeDefault is Config.AppArmorDefault, but for privileged
	// containers. The default.
	AppArmorRuntimeDefault AppArmorType = "RuntimeDefault"
	// AppArmorUnconfined is no profile.
	AppArmorUnconfined AppArmorType = "Unconfined"
	// AppArmorLocalhost is a profile that the node's administrator has loaded.
	AppArmorLocalhost AppArmorType = "Localhost"
)

// Security is what a container may do.
type Security struct {
	// RunAsUser and RunAsGroup replace the image's; nil keeps it.
	RunAsUser  *int64 `json:"runAsUser,omitempty"`
	RunAsGroup *int64 `json:"runAsGroup,omitempty"`
	// RunAsNonRoot refuses, with ErrInvalid, to run as user 0 or as a name of the
	// image that is not a number.
	RunAsNonRoot bool `json:"runAsNonRoot,omitempty"`
	// SupplementalGroups are added, the pod's fsGroup among them. The groups that
	// the image's /etc/group gives the user are added too, unless
	// StrictSupplementalGroups.
	SupplementalGroups       []int64 `json:"supplementalGroups,omitempty"`
	StrictSupplementalGroups bool    `json:"strictSupplementalGroups,omitempty"`

	// Privileged gives all capabilities and devices and no confinement.
	Privileged bool `json:"privileged,omitempty"`
	// AddCapabilities and DropCapabilities change the default set; names without
	// "CAP_", or "ALL".
	AddCapabilities  []string `json:"addCapabilities,omitempty"`
	DropCapabilities []string `json:"dropCapabilities,omitempty"`
	// NoNewPrivileges is allowPrivilegeEscalation: false.
	NoNewPrivileges bool `json:"noNewPrivileges,omitempty"`
	// ReadOnlyRootFS mounts the root filesystem read-only.
	ReadOnlyRootFS bool `json:"readOnlyRootFS,omitempty"`
	// UnmaskedProc is procMount: Unmasked.
	UnmaskedProc bool `json:"unmaskedProc,omitempty"`
	// Seccomp chooses the filter; SeccompProfile is the file for SeccompLocalhost.
	Seccomp        SeccompType `json:"seccomp,omitempty"`
	SeccompProfile string      `json:"seccompProfile,omitempty"`
	// AppArmor chooses the profile; AppArmorProfile is its name for AppArmorLocalhost.
	AppArmor        AppArmorType `json:"appArmor,omitempty"`
	AppArmorProfile string       `json:"appArmorProfile,omitempty"`
}

// State is where a container is in its life.
type State string

const (
	// StateCreated: prepared, not started.
	StateCreated State = "created"
	// StateRunning: its main process runs.
	StateRunning State = "running"
	// StateExited: its main process has ended, or was lost.
	StateExited State = "exited"
)

// Reasons of an exited container, in the words Kubernetes uses.
const (
	// ReasonCompleted: exit code 0.
	ReasonCompleted = "Completed"
	// ReasonError: any other exit code.
	ReasonError = "Error"
	// ReasonOOMKilled: the kernel killed it for memory.
	ReasonOOMKilled = "OOMKilled"
	// ReasonStartError: its command could not be run. Message says why.
	ReasonStartError = "StartError"
	// ReasonUnknown: the exit code was lost with the shim or at a reboot.
	ReasonUnknown = "ContainerStatusUnknown"
)

// User is a process' user in its container: the numbers of the user, of its group,
// and of all groups it is in.
type User struct {
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"`
}

// ContainerStatus is what is known of a container.
type ContainerStatus struct {
	PodUID string
	// Spec is what the container was created from.
	Spec  ContainerSpec
	State State
	// Pid is the main process's on the host, 0 if there is none.
	Pid        int
	CreatedAt  time.Time
	StartedAt  time.Time
	FinishedAt time.Time
	// ExitCode is 128+signal for a process that a signal ended; Signal is then set.
	ExitCode  int
	Signal    int
	OOMKilled bool
	// Reason and Message explain an exited container.
	Reason  string
	Message string
	// TerminationMessage is what the container left at TerminationMessagePath, at
	// most 4096 bytes.
	TerminationMessage string
}

// SandboxStatus is what is known of a sandbox.
type SandboxStatus struct {
	Spec SandboxSpec
	// Ready: the shim and the pause process run.
	Ready bool
	// PausePid and ShimPid are 0 if they do not run.
	PausePid int
	ShimPid  int
	// CreatedAt is when the sandbox was made.
	CreatedAt time.Time
	// Message says why it is not ready.
	Message string
}

// Usage is a cgroup's present use.
type Usage struct {
	// Time is when it was read.
	Time time.Time
	// CPUNanoseconds is CPU time since the cgroup was made.
	CPUNanoseconds uint64
	// MemoryBytes is what counts against the limit, file cache included.
	MemoryBytes uint64
	// MemoryWorkingSetBytes is the usage less the inactive file cache.
	MemoryWorkingSetBytes uint64
	MemoryRSSBytes        uint64
	Pids                  uint64
	// Pressure is nil where the kernel does not tell, as in version 1 of cgroups.
	Pressure *Pressure
}

// Event says that a sandbox or a container has changed by itself. It carries no
// state: read it with ContainerStatus or SandboxStatus.
type Event struct {
	PodUID string
	// ContainerID is empty for the sandbox itself.
	ContainerID string
}
