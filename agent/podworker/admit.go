package podworker

import (
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	podresource "k8s.io/component-helpers/resource"

	"navarch.dev/navarch/agent/network"
)

// grant is what one pod has been given of the node.
type grant struct {
	requests corev1.ResourceList
	ports    []network.HostPort
}

// admit decides whether the node can run the pod, and takes it on.
func (w *worker) admit(now time.Time) {
	if w.startTime.IsZero() {
		w.startTime = now
	}
	if reason, message := w.m.grant(w.pod, w.uid, w.static); reason != "" {
		w.m.deps.Metrics.Rejected(reason)
		w.event(nil, corev1.EventTypeWarning, reason, message)
		w.turnedAway, w.rejected = true, &corev1.PodStatus{Phase: corev1.PodFailed, Reason: reason, Message: "Pod was rejected: " + message}
		w.beginStopping(now)
		w.stopContainers(now)
		return
	}
	w.phase = phaseRunning
	if w.given == nil {
		w.given = allocationOf(w.pod)
	}
	w.makeMirror()
	w.setUp(now, func(time.Time) {})
	w.runContainers(now, func(time.Time) {})
}

// grant gives a pod what it asks for, or says why it cannot. A pod that has it
// already keeps it.
func (m *Manager) grant(pod *corev1.Pod, uid string, static bool) (reason, message string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.settled(uid)
	if _, ok := m.granted[uid]; ok {
		return "", ""
	}
	if reason, message := refuseSystem(&pod.Spec); reason != "" {
		return reason, message
	}
	if message := m.refuseAppArmor(pod); message != "" {
		return "AppArmor", message
	}
	if message := m.cfg.Sysctls.Refuse(pod); message != "" {
		return "SysctlForbidden", message
	}
	g := grantOf(pod)
	if !static {
		if reason, message := m.fits(g, uid); reason != "" {
			return reason, message
		}
	}
	m.granted[uid] = g
	return "", ""
}

// refuseSystem says why a pod that is for another operating system than the node's
// cannot run, which the Scheduler did not place here.
func refuseSystem(spec *corev1.PodSpec) (reason, message string) {
	if name, ok := spec.NodeSelector[corev1.LabelOSStable]; ok && name != string(corev1.Linux) {
		return "PodOSSelectorNodeLabelDoesNotMatch", "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"
	}
	if spec.OS != nil && spec.OS.Name != corev1.Linux {
		return "PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"
	}
	return "", ""
}

// grantOf returns what a pod asks of the node.
func grantOf(pod *corev1.Pod) grant {
	g := grant{requests: podresource.PodRequests(pod, podresource.PodResourcesOptions{}), ports: hostPorts(pod)}
	if pod.Spec.HostNetwork {
		g.ports = containerPorts(pod)
	}
	return g
}

// heldBy returns what a pod has of the node: it may be more than what it was
// given, where a resize is under way.
func heldBy(pod *corev1.Pod) grant {
	g := grantOf(pod)
	g.requests = podresource.PodRequests(pod, podresource.PodResourcesOptions{
		UseStatusResources: true, InPlacePodLevelResourcesVerticalScalingEnabled: true,
	})
	return g
}

// fits says why a grant is not possible beside those of the pods but one. The
// caller holds the lock.
func (m *Manager) fits(g grant, uid string) (reason, message string) {
	others := maps.Clone(m.granted)
	delete(others, uid)
	if m.cfg.MaxPods > 0 && len(others) >= m.cfg.MaxPods {
		return "OutOfpods", fmt.Sprintf("Node didn't have enough resource: pods, requested: 1, used: %d, capacity: %d", len(others), m.cfg.MaxPods)
	}
	for _, other := range others {
		for _, p := range g.ports {
			if conflicts(p, other.ports) {
				return "NodePorts", fmt.Sprintf("Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports (%d)", p.HostPort)
			}
		}
	}
	for name, available := range m.allocatable() {
		asked, ok := g.requests[name]
		if !ok || asked.IsZero() || name == corev1.ResourcePods {
			continue
		}
		used := available.DeepCopy()
		used.Sub(available)
		for _, other := range others {
			used.Add(other.requests[name])
		}
		free := available.DeepCopy()
		free.Sub(used)
		if asked.Cmp(free) > 0 {
			return "OutOf" + string(name), fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d",
				name, amount(name, asked), amount(name, used), amount(name, available))
		}
	}
	return "", ""
}

// release takes back what a pod has of the node.
func (m *Manager) release(uid string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.takeBack(uid)
}

// takeBack is release for a caller that holds the lock.
func (m *Manager) takeBack(uid string) {
	delete(m.granted, uid)
	delete(m.asks, uid)
	delete(m.unsettled, uid)
	m.answerAsks()
}

// awaitNoMore notes that a pod ends, whether it was admitted or not.
func (m *Manager) awaitNoMore(uid string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settled(uid)
}

// settled notes that a pod of an earlier agent has been admitted or rejected, or
// never will be. The caller holds the lock.
func (m *Manager) settled(uid string) {
	if m.unsettled[uid] {
		delete(m.unsettled, uid)
		m.answerAsks()
	}
}

func conflicts(p network.HostPort, taken []network.HostPort) bool {
	for _, t := range taken {
		if p.HostPort == t.HostPort && protocolOf(p) == protocolOf(t) && (p.HostIP == t.HostIP || wild(p.HostIP) || wild(t.HostIP)) {
			return true
		}
	}
	return false
}

func protocolOf(p network.HostPort) corev1.Protocol {
	if p.Protocol == "" {
		return corev1.ProtocolTCP
	}
	return p.Protocol
}

func wild(ip string) bool { return ip == "" || ip == "0.0.0.0" || ip == "::" }

// containerPorts returns the ports that a pod in the node's own network takes.
func containerPorts(pod *corev1.Pod) []network.HostPort {
	var ports []network.HostPort
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			ports = append(ports, network.HostPort{HostIP: p.HostIP, HostPort: p.ContainerPort, ContainerPort: p.ContainerPort, Protocol: p.Protocol})
		}
	}
	return ports
}
