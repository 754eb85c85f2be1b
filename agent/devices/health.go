package devices

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	healthv1 "k8s.io/kubelet/pkg/apis/dra-health/v1"
	healthv1alpha1 "k8s.io/kubelet/pkg/apis/dra-health/v1alpha1"

	"navarch.dev/navarch/internal/deviceclaim"
)

const (
	// healthTimeout is how long a report holds unless its driver says otherwise.
	healthTimeout = 30 * time.Second
	// askAgainAfter is how long the agent waits before it asks a driver again whose
	// reports have ended.
	askAgainAfter = 5 * time.Second
	// maxReports is of how many devices of one driver reports are kept. Names are
	// the driver's to choose, so that it could go on with new ones for ever.
	maxReports = 16384
	// maxHealthMessage is how long what a driver says of a device may be.
	maxHealthMessage = 1024
)

// health is what drivers say of their devices, each instance of a driver for
// itself. It is safe for concurrent use.
type health struct {
	mu      sync.Mutex // guards reports
	reports map[string]map[deviceName]report
}

// deviceName names a device of a driver.
type deviceName struct{ pool, device string }

// report is what a driver said of a device last, and how long that holds.
type report struct {
	state   corev1.ResourceHealthStatus
	message string
	until   time.Time
}

func newHealth() *health { return &health{reports: map[string]map[deviceName]report{}} }

// of returns what is known of a device by an instance of its driver.
func (h *health) of(instance string, name deviceName) report {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r, ok := h.reports[instance][name]; ok && time.Now().Before(r.until) {
		return r
	}
	return report{state: corev1.ResourceHealthStatusUnknown}
}

// take takes an instance's report up. It returns whether anything is other than
// before, and when the first of what it has told of its devices holds no more.
func (h *health) take(instance string, all []*healthv1.DeviceHealth, now time.Time) (changed bool, next time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	known := h.reports[instance]
	if known == nil {
		known = map[deviceName]report{}
		h.reports[instance] = known
	}
	for _, d := range all {
		name := deviceName{d.GetDevice().GetPoolName(), d.GetDevice().GetDeviceName()}
		was, ok := known[name]
		if !ok && len(known) >= maxReports {
			continue
		}
		is := report{state: stateOf(d.GetHealth()), message: shortened(d.GetMessage()), until: now.Add(holds(d))}
		changed = changed || was.state != is.state || was.message != is.message
		known[name] = is
	}
	for name, r := range known {
		switch {
		case !now.Before(r.until):
			delete(known, name)
			changed = changed || r.state != corev1.ResourceHealthStatusUnknown
		case next.IsZero() || r.until.Before(next):
			next = r.until
		}
	}
	return changed, next
}

// drop keeps nothing of an instance, and returns whether there was anything.
func (h *health) drop(instance string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	some := len(h.reports[instance]) > 0
	delete(h.reports, instance)
	return some
}

// holds is how long what a driver says of a device is to be believed.
func holds(d *healthv1.DeviceHealth) time.Duration {
	seconds := d.GetHealthCheckTimeoutSeconds()
	if seconds <= 0 || seconds > int64((1<<63-1)/time.Second) {
		return healthTimeout
	}
	return time.Duration(seconds) * time.Second
}

func stateOf(s healthv1.HealthStatus) corev1.ResourceHealthStatus {
	switch s {
	case healthv1.HealthStatus_HEALTHY:
		return corev1.ResourceHealthStatusHealthy
	case healthv1.HealthStatus_UNHEALTHY:
		return corev1.ResourceHealthStatusUnhealthy
	}
	return corev1.ResourceHealthStatusUnknown
}

func shortened(message string) string {
	if len(message) <= maxHealthMessage {
		return message
	}
	return strings.ToValidUTF8(message[:maxHealthMessage-3], "") + "..."
}

// healthClient returns what asks a driver for the health of its devices; nil if it
// does not tell.
func healthClient(services []string, conn *grpc.ClientConn) healthv1.DRAResourceHealthClient {
	switch {
	case slices.Contains(services, healthv1.DRAResourceHealthService):
		return healthv1.NewDRAResourceHealthClient(conn)
	case slices.Contains(services, healthv1alpha1.DRAResourceHealthService):
		return healthv1.V1Alpha1ClientWrapper{Client: healthv1alpha1.NewDRAResourceHealthClient(conn)}
	}
	return nil
}

// follow takes up what a driver says of its devices as long as it is there, unless
// it says that it does not tell.
func (p *Plugins) follow(ctx context.Context, d *driver) {
	for {
		err := p.listen(ctx, d)
		if p.health.drop(d.instance) {
			p.reported(d.name)
		}
		if status.Code(err) == codes.Unimplemented {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-d.gone:
			return
		case <-time.After(askAgainAfter):
		}
		p.log.WarnContext(ctx, "asking a driver again for its devices' health", "driver", d.name, "error", err)
	}
}

// listen takes reports up until the driver ends them.
func (p *Plugins) listen(ctx context.Context, d *driver) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := d.health.NodeWatchResources(ctx, &healthv1.NodeWatchResourcesRequest{})
	if err != nil {
		return fmt.Errorf("NodeWatchResources of %s: %w", d.name, err)
	}
	reports, ended := make(chan []*healthv1.DeviceHealth), make(chan error, 1)
	go func() {
		for {
			answer, err := stream.Recv()
			if err != nil {
				ended <- err
				return
			}
			select {
			case reports <- answer.GetDevices():
			case <-ctx.Done():
			}
		}
	}()
	stale := time.NewTimer(0) // when something that is known holds no more
	defer stale.Stop()
	for {
		var said []*healthv1.DeviceHealth
		select {
		case err := <-ended:
			return err
		case said = <-reports:
		case <-stale.C:
		}
		now := time.Now()
		changed, next := p.health.take(d.instance, said, now)
		if changed {
			p.reported(d.name)
		}
		if next.IsZero() {
			stale.Stop()
		} else {
			stale.Reset(next.Sub(now))
		}
	}
}

// Health returns the health of the devices that a container was given, by what it
// names in resources.claims. See https://kep.k8s.io/4680
func (m *Manager) Health(pod *corev1.Pod, container *corev1.Container) []corev1.ResourceStatus {
	var out []corev1.ResourceStatus
	for _, wanted := range container.Resources.Claims {
		name := "claim:" + wanted.Name
		if wanted.Request != "" {
			name += "/" + wanted.Request
		}
		for _, ref := range deviceclaim.Of(pod) {
			if ref.Name != wanted.Name || ref.Claim == "" {
				continue
			}
			if all := m.healthOf(m.known(string(pod.UID), pod.Namespace, ref.Claim), wanted.Request); len(all) > 0 {
				out = append(out, corev1.ResourceStatus{Name: corev1.ResourceName(name), Resources: all})
			}
		}
	}
	return out
}

func (m *Manager) healthOf(c *claim, request string) []corev1.ResourceHealth {
	if c == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []corev1.ResourceHealth
	for _, driver := range slices.Sorted(maps.Keys(c.Drivers)) {
		var instance string
		if current := m.plugins.current(driver); current != nil {
			instance = current.instance
		}
		for _, d := range c.Drivers[driver].Devices {
			id := d.id(driver)
			if !d.isFor(request) || slices.ContainsFunc(out, func(h corev1.ResourceHealth) bool { return h.ResourceID == id }) {
				continue
			}
			r := m.plugins.health.of(instance, deviceName{d.Pool, d.Device})
			h := corev1.ResourceHealth{ResourceID: id, Health: r.state}
			if r.message != "" {
				h.Message = &r.message
			}
			out = append(out, h)
		}
	}
	return out
}

// id is how a device is named in the status of pods: as the runtime knows it or, if
// it does not, as the driver calls it.
func (d *prepared) id(driver string) corev1.ResourceID {
	if len(d.CDI) > 0 {
		return corev1.ResourceID(d.CDI[0])
	}
	return corev1.ResourceID(driver + "/" + d.Pool + "/" + d.Device)
}

// isFor says whether a device is for a request; "" is all.
func (d *prepared) isFor(request string) bool {
	return request == "" || len(d.Requests) == 0 || slices.ContainsFunc(d.Requests, func(r string) bool {
		main, _, _ := strings.Cut(r, "/")
		return main == request
	})
}

// UsersOf returns the UIDs of the pods that devices of a driver were prepared for.
func (m *Manager) UsersOf(driver string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var pods []string
	for _, c := range m.claims {
		if c.Drivers[driver] != nil {
			pods = append(pods, c.Pods...)
		}
	}
	slices.Sort(pods)
	return slices.Compact(pods)
}
