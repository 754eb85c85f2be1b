package metrics

import (
	"context"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/podcertificate"
	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/volume"
	"navarch.dev/navarch/internal/version"
)

// lookTime bounds one look at everything.
const lookTime = 10 * time.Second

// Pods finds the node's pods. *podworker.Manager implements it.
type Pods interface {
	Pods(ctx context.Context) ([]*corev1.Pod, error)
}

// Runtime lists what runs. runtime.Runtime implements it.
type Runtime interface {
	ListSandboxes(ctx context.Context) ([]runtime.SandboxStatus, error)
	ListContainers(ctx context.Context, podUID string) ([]runtime.ContainerStatus, error)
}

// State looks up how many of what there are, when somebody reads.
type State struct {
	NodeName string
	Pods     Pods
	Runtime  Runtime
	// CgroupVersion is 1 or 2.
	CgroupVersion int
	// CertificateEnd returns when the agent's own certificate ends, by which it calls
	// and serves; nil if it has none.
	CertificateEnd func() time.Time
	// PodCertificates counts the certificates of pods; nil if there can be none.
	PodCertificates func() map[podcertificate.SignerState]int
	// Volumes counts the volumes of pods; nil if none are set up.
	Volumes func() []volume.Count
}

// Describe implements prometheus.Collector: what is told depends on the pods.
func (State) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector. What cannot be looked up is not told.
func (s State) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), lookTime)
	defer cancel()
	t := gauges{out}
	t.tell(kubelet+"_node_name", "The node's name. The count is always 1.", 1, "node", s.NodeName)
	t.tell(kubelet+"_cgroup_version", "cgroup version on the hosts.", float64(s.CgroupVersion))
	t.tell("kubernetes_build_info",
		"A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build date, Go version, and compiler from which Kubernetes was built, and platform on which it is running.",
		1, "git_version", version.Server)
	s.tellCertificate(t)
	if s.PodCertificates != nil {
		for c, n := range s.PodCertificates() {
			t.tell(kubelet+"_podcertificate_states", "Gauge vector reporting the number of pod certificate projected volume sources, faceted by signer_name and state.",
				float64(n), "signer_name", c.Signer, "state", c.State)
		}
	}
	if s.Volumes != nil {
		tellCounts(t, s.Volumes())
	}
	pods, err := s.Pods.Pods(ctx)
	if err != nil {
		return
	}
	tellPods(t, pods)
	s.tellRunning(ctx, t, pods)
}

// tellCertificate tells for how long the agent's certificate is good.
func (s State) tellCertificate(t gauges) {
	left := math.Inf(1)
	if s.CertificateEnd != nil {
		left = time.Until(s.CertificateEnd()).Seconds()
	}
	t.tell(kubelet+"_certificate_manager_client_ttl_seconds",
		"Gauge of the TTL (time-to-live) of the Kubelet's client certificate. The value is in seconds until certificate expiry (negative if already expired). If client certificate is invalid or unused, the value will be +INF.", left)
	t.tell(kubelet+"_certificate_manager_server_ttl_seconds",
		"Gauge of the shortest TTL (time-to-live) of the Kubelet's serving certificate. The value is in seconds until certificate expiry (negative if already expired). If serving certificate is invalid or unused, the value will be +INF.", left)
}

// tellPods tells what the pods' objects say.
func tellPods(t gauges, pods []*corev1.Pod) {
	desired, active := map[string]int{"": 0, "true": 0}, map[string]int{"": 0, "true": 0}
	mirrors, ephemeral, resizing := 0, 0, 0
	pending := map[[2]string]int{} // by reason and class of priority
	for _, pod := range pods {
		static := ""
		if isStatic(pod) {
			static = "true"
			mirrors++
		}
		desired[static]++
		ephemeral += len(pod.Spec.EphemeralContainers)
		if pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
			active[static]++
		}
		for _, c := range pod.Status.Conditions {
			switch {
			case c.Status != corev1.ConditionTrue:
			case c.Type == corev1.PodResizePending && c.Reason == corev1.PodReasonDeferred:
				pending[[2]string{"deferred", priorityClass(pod)}]++
			case c.Type == corev1.PodResizePending:
				pending[[2]string{"infeasible", priorityClass(pod)}]++
			case c.Type == corev1.PodResizeInProgress:
				resizing++
			}
		}
	}
	for static := range desired {
		t.tell(kubelet+"_desired_pods", "The number of pods the kubelet is being instructed to run. static is true if the pod is not from the apiserver.",
			float64(desired[static]), "static", static)
		t.tell(kubelet+"_active_pods",
			"The number of pods the kubelet considers active and which are being considered when admitting new pods. static is true if the pod is not from the apiserver.",
			float64(active[static]), "static", static)
	}
	t.tell(kubelet+"_mirror_pods", "The number of mirror pods the kubelet will try to create (one per admitted static pod)", float64(mirrors))
	t.tell(kubelet+"_managed_ephemeral_containers", "Current number of ephemeral containers in pods managed by this kubelet.", float64(ephemeral))
	t.tell(kubelet+"_pod_in_progress_resizes", "Number of in-progress resizes for pods.", float64(resizing))
	for of, n := range pending {
		t.tell(kubelet+"_pod_pending_resizes",
			"Number of pending resizes for pods. Label 'priority_bucket' classifies the pod priority. Label 'reason' describes the state (deferred, infeasible).",
			float64(n), "reason", of[0], "priority_bucket", of[1])
	}
}

// priorityClass returns the class of a pod's priority, in the words of kubelets.
func priorityClass(pod *corev1.Pod) string {
	priority := int32(0)
	if pod.Spec.Priority != nil {
		priority = *pod.Spec.Priority
	}
	switch {
	case priority >= 2_000_000_000:
		return "system-critical"
	case priority >= 100_000:
		return "high"
	case priority > 0:
		return "medium"
	case priority == 0:
		return "normal"
	case priority > -1000:
		return "low"
	}
	return "very-low"
}

// isStatic says whether a pod is of a file rather than of the Store.
func isStatic(pod *corev1.Pod) bool {
	source := pod.Annotations["kubernetes.io/config.source"]
	return pod.Annotations[corev1.MirrorPodAnnotationKey] != "" || source != "" && source != "api"
}

// tellRunning tells what the runtime has, and the space of claimed volumes.
func (s State) tellRunning(ctx context.Context, t gauges, pods []*corev1.Pod) {
	sandboxes, err := s.Runtime.ListSandboxes(ctx)
	if err != nil {
		return
	}
	containers, err := s.Runtime.ListContainers(ctx, "")
	if err != nil {
		return
	}
	running := 0
	for _, sandbox := range sandboxes {
		if sandbox.Ready {
			running++
		}
	}
	states := map[runtime.State]int{runtime.StateCreated: 0, runtime.StateRunning: 0, runtime.StateExited: 0}
	for i := range containers {
		states[containers[i].State]++
	}
	t.tell(kubelet+"_running_pods", "Number of pods that have a running pod sandbox", float64(running))
	for state, n := range states {
		t.tell(kubelet+"_running_containers", "Number of containers currently running", float64(n), "container_state", string(state))
	}
	tellVolumes(t, pods, containers)
}

// gauges sends gauges.
type gauges struct{ out chan<- prometheus.Metric }

// tell sends one; labels are pairs of a name and a value.
func (g gauges) tell(name, help string, value float64, labels ...string) {
	var names, values []string
	for i := 0; i < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	g.out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), prometheus.GaugeValue, value, values...)
}
