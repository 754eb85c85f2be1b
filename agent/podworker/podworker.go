// Package podworker makes the pods of one node be what the Store says, and
// tells the Store what they are.
//
// Each pod has a worker: one goroutine that owns the pod's state. Whatever
// takes time (connecting the pod to the network, a pull, a container's end)
// runs beside it as an operation and sends its result into the worker's mail.
// After each letter the worker takes one look at what is wanted and what is,
// and begins the operations that are missing (step). Nothing is polled: the
// mail is written by the watch, the runtime's events, operations, probes and
// one timer.
//
// # The critical path
//
// From the watch event to the status that says Running:
//
//	watch event ─┬─ network namespace ─┬─ CNI ADD ───────────────┐
//	             │                     └─ sandbox ─┐             │
//	             ├─ images (nothing if present) ───┼─ create ────┴─ start ─ status
//	             └─ volumes, devices ──────────────┘
//
// The steps on parallel lines run at once. In particular `runc create` does
// not wait for CNI ADD unless the container's environment asks for the pod's
// address; /etc/hosts is filled in before the start. The status that a
// container runs is written at once, one that says no more than that it is
// being made is held back for a moment, because it is mostly overtaken.
//
// # Crash-only
//
// What a worker knows can be found again in the runtime, the network's
// records and the Store. A new Manager recovers: it adopts what runs for a pod
// that is still wanted, and ends the rest.
package podworker

import (
	"context"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/trace"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"

	"navarch.dev/navarch/agent/apparmor"
	"navarch.dev/navarch/agent/diskusage"
	"navarch.dev/navarch/agent/image"
	"navarch.dev/navarch/agent/metrics"
	"navarch.dev/navarch/agent/network"
	"navarch.dev/navarch/agent/objects"
	"navarch.dev/navarch/agent/probe"
	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/sysctls"
	"navarch.dev/navarch/agent/userns"
	"navarch.dev/navarch/agent/volume"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
)

// Config says where pods live and what they are told about the cluster.
type Config struct {
	NodeName string
	// HostIPs are the node's addresses.
	HostIPs []string
	// PodsDir holds a folder for each pod: volumes, and the file /etc/hosts. Empty:
	// nothing is kept on the disk, because no process will read it.
	PodsDir string
	// LogsDir holds the containers' logs. Empty: there are none.
	LogsDir string
	// ClusterDomain and DNSServers make pods' resolv.conf.
	ClusterDomain string
	DNSServers    []string
	// HostResolvConf is the node's own resolv.conf.
	HostResolvConf string
	// StaticPodDir may hold manifests of pods that run whatever the Store says.
	StaticPodDir string
	// MaxPods bounds the pods of the node.
	MaxPods int
	// ParallelStarts bounds how many sandboxes and containers are made at a time.
	ParallelStarts int
	// LeaveTime bounds how long the containers of a deleted pod are not told to end
	// because a Service may still send it traffic; 0 does not wait for that.
	LeaveTime time.Duration
	// StoragePeriod is how often the storage of pods that limit it is measured; 0
	// is never.
	StoragePeriod time.Duration
	// Allocatable is what the pods may share.
	Allocatable func() corev1.ResourceList
	// Promise is how long pods may run on once the node has lost the Store; 0 is
	// for ever. See internal/fencing.
	Promise time.Duration
	// AppArmor is what of it the node has.
	AppArmor apparmor.Support
	// Sysctls are the kernel parameters that pods may set.
	Sysctls sysctls.Allowed
}

// Network connects pods. *network.Network implements it.
type Network interface {
	Ready() <-chan struct{}
	MakeNamespace(uid string) (string, error)
	// AdoptNamespace takes the namespace of a process in place of making one.
	AdoptNamespace(uid string, pid int) (string, error)
	Attach(ctx context.Context, pod network.PodRef, ports []network.HostPort) (network.Attachment, error)
	Detach(ctx context.Context, pod network.PodRef) error
	Attachment(uid string) (network.Attachment, bool, error)
	CollectGarbage(ctx context.Context, live func(uid string) bool) error
}

// Volumes sets up pods' volumes. *volume.Manager implements it.
type Volumes interface {
	SetUp(ctx context.Context, pod *corev1.Pod) (volume.Volumes, error)
	Mounts(pod *corev1.Pod, c *corev1.Container, vols volume.Volumes, env func(string) (string, bool)) ([]runtime.Mount, error)
	// RecursiveReadOnly says whether a mount is read-only with all that is mounted
	// below it.
	RecursiveReadOnly(vm corev1.VolumeMount) bool
	// Devices are the volumes that a container gets as block devices.
	Devices(c *corev1.Container, vols volume.Volumes) ([]runtime.Device, error)
	Usage(pod *corev1.Pod, name string) (diskusage.Usage, error)
	TearDown(podUID string) error
	Pods() ([]string, error)
}

// Devices prepares the devices of pods' claims. *devices.Manager implements it.
type Devices interface {
	Prepare(ctx context.Context, pod *corev1.Pod) error
	CDIDevices(pod *corev1.Pod, c *corev1.Container) ([]string, error)
	Unprepare(ctx context.Context, podUID string) error
	Pods() []string
	// Health is that of the devices of a container.
	Health(pod *corev1.Pod, c *corev1.Container) []corev1.ResourceStatus
	// UsersOf returns the UIDs of the pods with devices of a driver.
	UsersOf(driver string) []string
}

// Recorder records events about pods.
type Recorder interface {
	EventAt(obj kinds.Object, fieldPath, eventType, reason, message string)
}

// Deps are what a Manager works with.
type Deps struct {
	Client   *client.Client
	Pods     *client.Informer[*corev1.Pod]
	Services *client.Informer[*corev1.Service]
	Runtime  runtime.Runtime
	Images   image.Images
	Network  Network
	Volumes  Volumes
	// Devices is nil where pods have no processes that could use any.
	Devices Devices
	// Users are those that pods may have of their own; nil where pods have no
	// processes.
	Users   *userns.Pool
	Objects *objects.Objects
	Events  Recorder
	// Fence is the node's, and Now the clock of its times.
	Fence Fence
	Now   func() time.Duration
	// Leased is closed when this agent has renewed the node's Lease: before,
	// pods may have been replaced that it does not know of. nil is at once.
	Leased <-chan struct{}
	// OnFenced is told that Fenced is true from now on. It does not block, and
	// may be nil.
	OnFenced func()
	// Probes counts what probes find, Metrics what happens to pods; nil does not.
	Probes  *probe.Metrics
	Metrics *metrics.Metrics
	Log     *slog.Logger
	Tracer  trace.Tracer
}

const (
	// firstBackoff and longestBackoff bound the wait before a container is
	// started, or an image pulled, again.
	firstBackoff   = 10 * time.Second
	longestBackoff = 5 * time.Minute
	// backoffReset is how long a container must have run to begin anew.
	backoffReset = 10 * time.Minute
	// statusHold is how long a status without news is held back.
	statusHold = time.Second
)

// NewInformer returns the informer of a node's pods that Deps asks for.
func NewInformer(c *client.Client, nodeName string) (*client.Informer[*corev1.Pod], error) {
	return client.NewInformer[*corev1.Pod](c, client.InformerOptions{
		Fields: fields.OneTermEqualSelector("spec.nodeName", nodeName),
	})
}
