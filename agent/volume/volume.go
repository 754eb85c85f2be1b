// Package volume sets up pods' volumes on a node and says what of them each
// container mounts.
//
// # State on disk
//
//	<dir>/<pod uid>/volumes/<volume name>/        emptyDir, or the filesystem of a local
//	                                              volume that is a device
//	<dir>/<pod uid>/subpaths/<container>/<n>      a bound subPath
//	<memory dir>/<pod uid>/volumes/<volume name>/ projections of ConfigMaps, Secrets,
//	                                              fields, tokens, certificates
//	<memory dir>/<pod uid>/certificates/          package podcertificate's
//	<local dir>/<volume>/                         data of a local-path volume
//
// Projections change as a whole, by a switched symlink, when their source
// changes. A subPath is opened below its volume without following a link out
// of it, and bound by its descriptor, so that a container cannot trade a
// folder for a link between the check and the mount.
package volume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/keymutex"

	"navarch.dev/navarch/agent/diskusage"
	"navarch.dev/navarch/agent/objects"
	"navarch.dev/navarch/agent/podcertificate"
	"navarch.dev/navarch/internal/client"
)

// Config says where volumes are.
type Config struct {
	// Dir has a folder per pod. So has MemoryDir, a folder in memory, for
	// projections; empty is Dir.
	Dir, MemoryDir string
	// LocalDir has the local-path volumes of this node.
	LocalDir string
	// Allocatable is what resource references of the downward API fall back to.
	Allocatable func() corev1.ResourceList
	// RecursiveReadOnly says that the kernel can make a mount read-only with all
	// that is mounted below it.
	RecursiveReadOnly bool
}

// deviceLocks is how many devices can be worked on at a time; those that share a lock
// by chance wait for each other.
const deviceLocks = 64

// Manager sets up the volumes of a node's pods. It is safe for concurrent use,
// for different pods.
type Manager struct {
	cfg     Config
	client  *client.Client
	objects *objects.Objects
	certs   Certificates
	log     *slog.Logger

	// devices locks one, by its path, while it is looked at, formatted, mounted or grown:
	// that may take minutes, in which others are not held up.
	devices keymutex.KeyMutex
	// run runs the programs that make filesystems larger; tests replace it.
	run func(ctx context.Context, program string, args ...string) error

	mu       sync.Mutex                 // guards all below
	renewals map[string]*time.Timer     // by pod UID
	given    map[string][]string        // by pod UID, the volumes that are its group's
	held     map[string]map[string]held // by pod UID and volume
}

// Volumes are a pod's volumes that are set up: host paths by volume name.
type Volumes map[string]Volume

// Volume is one volume that is set up.
type Volume struct {
	HostPath string
	ReadOnly bool
	// Device says that HostPath is a block device, which containers get as it is.
	Device bool
	// OwnUsers says that the files belong to the pod's own users, if it has some.
	OwnUsers bool
}

// Certificates gets pods' certificates. *podcertificate.Manager implements it.
type Certificates interface {
	Get(ctx context.Context, pod *corev1.Pod, volume string, source int) (podcertificate.Credential, error)
	Forget(podUID string)
}

// New returns a manager. Without certs no pod gets certificates.
func New(cfg Config, c *client.Client, o *objects.Objects, certs Certificates, log *slog.Logger) *Manager {
	if cfg.MemoryDir == "" {
		cfg.MemoryDir = cfg.Dir
	}
	return &Manager{cfg: cfg, client: c, objects: o, certs: certs, log: log, renewals: make(map[string]*time.Timer), given: make(map[string][]string),
		held: make(map[string]map[string]held), devices: keymutex.NewHashed(deviceLocks), run: run}
}

func (m *Manager) allocatable() corev1.ResourceList {
	if m.cfg.Allocatable == nil {
		return nil
	}
	return m.cfg.Allocatable()
}

// RecursiveReadOnly says whether a mount is made read-only with all that is mounted
// below it.
func (m *Manager) RecursiveReadOnly(vm corev1.VolumeMount) bool {
	if vm.RecursiveReadOnly == nil || !vm.ReadOnly {
		return false
	}
	switch *vm.RecursiveReadOnly {
	case corev1.RecursiveReadOnlyEnabled:
		return true // it fails where the kernel cannot
	case corev1.RecursiveReadOnlyIfPossible:
		return m.cfg.RecursiveReadOnly
	}
	return false
}

// Error says which volume could not be set up; it is shown to the user.
type Error struct {
	Volume string
	Err    error
}

// Error returns the words that users know.
func (e *Error) Error() string {
	return fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", e.Volume, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// SetUp sets up all of a pod's volumes. It may be called again, to bring
// projections up to date; what is there stays.
func (m *Manager) SetUp(ctx context.Context, pod *corev1.Pod) (Volumes, error) {
	out := make(Volumes, len(pod.Spec.Volumes))
	var renewal time.Time
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		vol, refresh, err := m.setUpOne(ctx, pod, v)
		if err != nil {
			if _, named := errors.AsType[*Error](err); !named {
				err = &Error{Volume: v.Name, Err: err}
			}
			return nil, err
		}
		m.has(pod, v.Name)
		out[v.Name] = vol
		if !refresh.IsZero() && (renewal.IsZero() || refresh.Before(renewal)) {
			renewal = refresh
		}
	}
	m.scheduleRenewal(pod, renewal, func(ctx context.Context) error {
		_, err := m.SetUp(ctx, pod)
		return err
	})
	return out, nil
}

func (m *Manager) setUpOne(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) (Volume, time.Time, error) {
	if v.PersistentVolumeClaim == nil && v.Ephemeral == nil {
		m.wants(pod, v.Name, pluginOf(&v.VolumeSource))
	}
	switch {
	case v.EmptyDir != nil:
		vol, err := m.emptyDir(pod, v)
		return vol, time.Time{}, err
	case v.HostPath != nil:
		return Volume{HostPath: v.HostPath.Path}, time.Time{}, checkHostPath(v.HostPath)
	case v.PersistentVolumeClaim != nil || v.Ephemeral != nil:
		vol, err := m.claimVolume(ctx, pod, v)
		return vol, time.Time{}, err
	case v.Image != nil:
		return Volume{}, time.Time{}, nil // whoever has the images mounts it
	case v.NFS != nil:
		return Volume{}, time.Time{}, nfsProblem("/proc/filesystems")
	}
	p, err := m.project(ctx, pod, v)
	if err != nil {
		return Volume{}, time.Time{}, err
	}
	if p == nil {
		return Volume{}, time.Time{}, errUnsupported
	}
	dir := volumePath(m.cfg.MemoryDir, pod, v.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Volume{}, time.Time{}, fmt.Errorf("make the volume: %w", err)
	}
	group := fsGroup(pod)
	err = writePayload(dir, p.files, func(version string) error { return giveToGroup(version, group, groupReads) })
	return Volume{HostPath: dir, ReadOnly: true}, p.refresh, err
}

// scheduleRenewal has a pod's tokens set up again before they expire; a zero
// time is never.
func (m *Manager) scheduleRenewal(pod *corev1.Pod, at time.Time, setUp func(context.Context) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	uid := string(pod.UID)
	if t, ok := m.renewals[uid]; ok {
		t.Stop()
		delete(m.renewals, uid)
	}
	if at.IsZero() {
		return
	}
	m.renewals[uid] = time.AfterFunc(max(time.Until(at), 10*time.Second), func() { m.renew(pod, setUp) })
}

func (m *Manager) renew(pod *corev1.Pod, setUp func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := setUp(ctx); err != nil {
		m.log.WarnContext(ctx, "a pod's tokens were not renewed", "namespace", pod.Namespace, "pod", pod.Name, "error", err)
		m.scheduleRenewal(pod, time.Now().Add(time.Minute), setUp)
	}
}

// TearDown unmounts and removes all of a pod's volumes. What is gone is fine.
func (m *Manager) TearDown(podUID string) error {
	m.forget(podUID)
	m.stopGrowing(podUID)
	// The subPaths, which may bind projections, go first.
	if err := removeTree(filepath.Join(m.cfg.Dir, podUID)); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(m.cfg.MemoryDir, podUID)); err != nil {
		return fmt.Errorf("remove the pod's projected volumes: %w", err)
	}
	return nil
}

// forget ends what goes on for a pod by itself.
func (m *Manager) forget(podUID string) {
	if m.certs != nil {
		m.certs.Forget(podUID)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if t, ok := m.renewals[podUID]; ok {
		t.Stop()
		delete(m.renewals, podUID)
	}
	delete(m.given, podUID)
}

// Usage returns what a pod's emptyDir takes of the disk.
func (m *Manager) Usage(pod *corev1.Pod, volume string) (diskusage.Usage, error) {
	return diskusage.Of(volumePath(m.cfg.Dir, pod, volume))
}

// Pods returns the UIDs of the pods that have a folder.
func (m *Manager) Pods() ([]string, error) {
	seen := make(map[string]bool)
	for _, dir := range []string{m.cfg.Dir, m.cfg.MemoryDir} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("list the pods' folders: %w", err)
		}
		for _, e := range entries {
			seen[e.Name()] = true
		}
	}
	return slices.Sorted(maps.Keys(seen)), nil
}

func volumePath(dir string, pod *corev1.Pod, volume string) string {
	return filepath.Join(dir, string(pod.UID), "volumes", volume)
}

func fsGroup(pod *corev1.Pod) *int64 {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	return pod.Spec.SecurityContext.FSGroup
}
