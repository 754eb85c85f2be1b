package podworker

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/internal/deviceclaim"
)

// prepareDevices begins to have the devices of the pod's claims prepared.
func (w *worker) prepareDevices() {
	if w.m.deps.Devices == nil || len(deviceclaim.All(w.pod)) == 0 {
		w.devices = resolved(struct{}{})
		return
	}
	pod, ctx := w.pod, w.setupCtx
	w.devices = begin(func() (struct{}, error) {
		return span(ctx, w, "devices.prepare", func(ctx context.Context) (struct{}, error) {
			return struct{}{}, w.m.deps.Devices.Prepare(ctx, pod)
		})
	})
	made := w.devices
	w.operate(func() func() {
		_, err := made.wait(ctx)
		return func() { w.devicesMade(made, err) }
	})
}

func (w *worker) devicesMade(made *future[struct{}], err error) {
	if err == nil || w.devices != made || w.phase != phaseRunning || w.setupCtx.Err() != nil {
		return
	}
	w.event(nil, corev1.EventTypeWarning, "FailedPrepareDynamicResources", fmt.Sprintf("Failed to prepare dynamic resources: %v", err))
	w.setupWait.failSlowly(time.Now())
	w.setupWait.until = time.Now().Add(min(w.setupWait.delay, longestVolumeWait))
	w.devices = nil
}

// DriversChanged has the pods that wait for devices try again, and takes back what
// was prepared for pods that have gone.
func (m *Manager) DriversChanged() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lookForOrphans()
	for _, w := range m.workers {
		go w.send(func() {
			if w.phase == phaseRunning && w.devices == nil {
				w.setupWait.until = time.Time{}
			}
		})
	}
}

// DevicesReported has the pods with devices of a driver say how these are.
func (m *Manager) DevicesReported(driver string) {
	users := m.deps.Devices.UsersOf(driver)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, uid := range users {
		if w := m.workers[uid]; w != nil {
			go w.send(func() {}) // each letter has the status made anew
		}
	}
}

// deviceHealth is the health of the devices of a container.
func (m *Manager) deviceHealth(pod *corev1.Pod, c *corev1.Container) []corev1.ResourceStatus {
	if m.deps.Devices == nil {
		return nil
	}
	return m.deps.Devices.Health(pod, c)
}

// lookForOrphans has Run call unprepareOrphans.
func (m *Manager) lookForOrphans() {
	select {
	case m.orphans <- struct{}{}:
	default:
	}
}

// cdiDevices are the names of the devices that a container gets.
func (m *Manager) cdiDevices(pod *corev1.Pod, c *corev1.Container) ([]string, error) {
	if m.deps.Devices == nil {
		return nil, nil
	}
	return m.deps.Devices.CDIDevices(pod, c)
}

func (m *Manager) unprepareDevices(ctx context.Context, podUID string) error {
	if m.deps.Devices == nil {
		return nil
	}
	return m.deps.Devices.Unprepare(ctx, podUID)
}

// unprepareOrphans takes back what was prepared for pods that have no worker: an
// agent that starts finds them before their drivers are there.
func (m *Manager) unprepareOrphans(ctx context.Context) {
	for _, uid := range m.podsWithDevices() {
		m.mu.Lock()
		_, here := m.workers[uid]
		m.mu.Unlock()
		if here {
			continue
		}
		if err := m.unprepareDevices(ctx, uid); err != nil {
			m.deps.Log.WarnContext(ctx, "devices of a pod that is gone are still prepared", "uid", uid, "error", err)
		}
	}
}

// podsWithDevices returns the UIDs of the pods that devices were prepared for.
func (m *Manager) podsWithDevices() []string {
	if m.deps.Devices == nil {
		return nil
	}
	return m.deps.Devices.Pods()
}
