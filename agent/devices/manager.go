package devices

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/deviceclaim"
)

// Manager prepares the claims of the node's pods. It is safe for concurrent use.
type Manager struct {
	dir     string
	client  *client.Client
	plugins *Plugins

	mu     sync.Mutex // guards claims and all that is exported of them
	claims map[types.UID]*claim
}

// New returns a manager that keeps its state in a folder, where it finds that of
// an earlier one.
func New(dir string, c *client.Client, plugins *Plugins) (*Manager, error) {
	claims, err := load(dir)
	if err != nil {
		return nil, err
	}
	return &Manager{dir: dir, client: c, plugins: plugins, claims: claims}, nil
}

// Prepare has the devices of a pod's claims prepared, as far as they are not. Its
// errors are for users to read.
func (m *Manager) Prepare(ctx context.Context, pod *corev1.Pod) error {
	for _, ref := range deviceclaim.All(pod) {
		if ref.Pending {
			return fmt.Errorf("pod claim %q: ResourceClaim not created yet", ref.Name)
		}
		if ref.Claim == "" {
			continue
		}
		if err := m.prepare(ctx, pod, ref); err != nil {
			return fmt.Errorf("claim %s: %w", ref.Claim, err)
		}
	}
	return nil
}

func (m *Manager) prepare(ctx context.Context, pod *corev1.Pod, ref deviceclaim.Ref) error {
	for {
		c, err := m.claimOf(ctx, pod, ref)
		if err != nil {
			return err
		}
		c.turn.Lock()
		if c.gone {
			c.turn.Unlock()
			continue
		}
		err = m.callPrepare(ctx, c, string(pod.UID))
		c.turn.Unlock()
		return err
	}
}

// claimOf returns one of a pod's claims. One that has not been prepared is read
// from the Store: it must be the pod's to use, and none that had its name may be
// prepared any more, whose devices it may have got.
func (m *Manager) claimOf(ctx context.Context, pod *corev1.Pod, ref deviceclaim.Ref) (*claim, error) {
	if c := m.known(string(pod.UID), pod.Namespace, ref.Claim); c != nil {
		return c, nil
	}
	found := &resourcev1.ResourceClaim{}
	if err := m.client.Get(ctx, pod.Namespace, ref.Claim, found); err != nil {
		return nil, err
	}
	if ref.Own {
		if err := deviceclaim.CheckOwner(pod, found); err != nil {
			return nil, err
		}
	}
	switch {
	case found.Status.Allocation == nil:
		return nil, errors.New("not allocated")
	case !deviceclaim.IsReserved(found, pod):
		return nil, fmt.Errorf("pod %s(%s) is not allowed to use ResourceClaim %s(%s)", pod.Name, pod.UID, found.Name, found.UID)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, old := range m.claims {
		if old.Namespace == found.Namespace && old.Name == found.Name && old.UID != found.UID {
			return nil, fmt.Errorf("old ResourceClaim with same name %s and different UID %s still exists (previous pod force-deleted?!)", old.Name, old.UID)
		}
	}
	c, ok := m.claims[found.UID]
	if !ok {
		c = &claim{Namespace: found.Namespace, Name: found.Name, UID: found.UID, Drivers: map[string]*preparation{}}
		for _, r := range found.Status.Allocation.Devices.Results {
			c.Drivers[r.Driver] = &preparation{}
		}
		m.claims[found.UID] = c
	}
	return c, nil
}

// known returns a claim that a pod uses, nil if it uses none of that name.
func (m *Manager) known(pod, namespace, name string) *claim {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.claims {
		if c.Namespace == namespace && c.Name == name && c.uses(pod) {
			return c
		}
	}
	return nil
}

// CDIDevices returns the names of the devices that a container gets, of those
// that have been prepared for its pod.
func (m *Manager) CDIDevices(pod *corev1.Pod, container *corev1.Container) ([]string, error) {
	var names []string
	for _, w := range wantedBy(pod, container) {
		c := m.known(string(pod.UID), pod.Namespace, w.claim)
		if c == nil {
			return nil, fmt.Errorf("claim %s is not prepared", w.claim)
		}
		for _, name := range m.devices(c, w.request) {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// wanted is what a container uses of a claim: all of it if it names no request.
type wanted struct{ claim, request string }

// wantedBy returns what a container uses of its pod's claims: what it names, and
// what the Scheduler has assigned to its extended resources.
func wantedBy(pod *corev1.Pod, container *corev1.Container) []wanted {
	var out []wanted
	for _, named := range container.Resources.Claims {
		for _, ref := range deviceclaim.Of(pod) {
			if ref.Name == named.Name && ref.Claim != "" {
				out = append(out, wanted{ref.Claim, named.Request})
			}
		}
	}
	if e := pod.Status.ExtendedResourceClaimStatus; e != nil {
		for _, m := range e.RequestMappings {
			if q := container.Resources.Requests[corev1.ResourceName(m.ResourceName)]; m.ContainerName == container.Name && !q.IsZero() {
				out = append(out, wanted{e.ResourceClaimName, m.RequestName})
			}
		}
	}
	return out
}

// devices returns the names of a claim's devices, or of those of one request, in
// the order of their drivers.
func (m *Manager) devices(c *claim, request string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for _, driver := range slices.Sorted(maps.Keys(c.Drivers)) {
		for _, d := range c.Drivers[driver].Devices {
			if d.isFor(request) {
				names = append(names, d.CDI...)
			}
		}
	}
	return names
}

// Unprepare has what was prepared for a pod taken back, but for what other pods
// use. Its containers must have ended.
func (m *Manager) Unprepare(ctx context.Context, pod string) error {
	m.mu.Lock()
	all := slices.Collect(maps.Values(m.claims))
	m.mu.Unlock()
	var errs []error
	for _, c := range all {
		if err := m.unprepare(ctx, c, pod); err != nil {
			errs = append(errs, fmt.Errorf("unprepare claim %s/%s: %w", c.Namespace, c.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (m *Manager) unprepare(ctx context.Context, c *claim, pod string) error {
	c.turn.Lock()
	defer c.turn.Unlock()
	m.mu.Lock()
	uses, shared := c.uses(pod), len(c.Pods) > 1
	m.mu.Unlock()
	if c.gone || !uses {
		return nil
	}
	if shared {
		return m.change(c, func() { c.Pods = slices.DeleteFunc(c.Pods, func(p string) bool { return p == pod }) })
	}
	if err := m.callUnprepare(ctx, c); err != nil {
		return err
	}
	if err := m.discard(c); err != nil {
		return err
	}
	c.gone = true
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.claims, c.UID)
	return nil
}

// Pods returns the UIDs of the pods that something was prepared for.
func (m *Manager) Pods() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := map[string]bool{}
	for _, c := range m.claims {
		for _, pod := range c.Pods {
			seen[pod] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}
