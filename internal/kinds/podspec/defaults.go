// Package podspec holds what pods and every workload's pod template share: the
// defaults of a PodSpec, its validation, the rules on changing a running pod
// and its quality-of-service class.
package podspec

import (
	"strings"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Defaults of a pod that other parts of the system rely on.
const (
	DefaultTerminationGracePeriodSeconds = 30
	defaultFileMode                      = int32(0o644)
	defaultTokenExpirationSeconds        = int64(3600)
)

// DefaultPod fills what a pod's author left out.
func DefaultPod(pod *corev1.Pod) {
	if deref(pod.Spec.TerminationGracePeriodSeconds) < 0 { // at once, as once was meant
		*pod.Spec.TerminationGracePeriodSeconds = 1
	}
	SetDefaults(&pod.Spec)
	setPointer(&pod.Spec.EnableServiceLinks, true)
	for c := range eachContainer(&pod.Spec) {
		requestLimits(&c.Resources)
	}
	if pod.Spec.Resources != nil {
		requestPodLimits(&pod.Spec)
	}
	if pod.Spec.HostNetwork {
		for c := range eachContainer(&pod.Spec) {
			exposeOnHost(c.Ports)
		}
	}
}

// SetDefaults fills what holds for pods and pod templates alike.
func SetDefaults(spec *corev1.PodSpec) {
	setDefault(&spec.DNSPolicy, corev1.DNSClusterFirst)
	setDefault(&spec.RestartPolicy, corev1.RestartPolicyAlways)
	setDefault(&spec.SchedulerName, corev1.DefaultSchedulerName)
	setPointer(&spec.SecurityContext, corev1.PodSecurityContext{})
	setPointer(&spec.TerminationGracePeriodSeconds, DefaultTerminationGracePeriodSeconds)
	setDefault(&spec.ServiceAccountName, spec.DeprecatedServiceAccount)
	spec.DeprecatedServiceAccount = spec.ServiceAccountName
	for i := range spec.Volumes {
		defaultVolume(&spec.Volumes[i])
	}
	for c := range eachContainer(spec) {
		defaultContainer(c)
	}
	for i := range spec.EphemeralContainers {
		c := corev1.Container(spec.EphemeralContainers[i].EphemeralContainerCommon)
		defaultContainer(&c)
		spec.EphemeralContainers[i].EphemeralContainerCommon = corev1.EphemeralContainerCommon(c)
	}
	roundQuantities(spec.Overhead)
}

// eachContainer yields the init containers and the containers.
func eachContainer(spec *corev1.PodSpec) func(yield func(*corev1.Container) bool) {
	return func(yield func(*corev1.Container) bool) {
		for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
			for i := range list {
				if !yield(&list[i]) {
					return
				}
			}
		}
	}
}

func defaultContainer(c *corev1.Container) {
	setDefault(&c.ImagePullPolicy, PullPolicyFor(c.Image))
	setDefault(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	setDefault(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range c.Ports {
		setDefault(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range c.Env {
		defaultEnv(&c.Env[i])
	}
	defaultProbe(c.LivenessProbe)
	defaultProbe(c.ReadinessProbe)
	defaultProbe(c.StartupProbe)
	if c.Lifecycle != nil {
		defaultLifecycleHandler(c.Lifecycle.PostStart)
		defaultLifecycleHandler(c.Lifecycle.PreStop)
	}
	roundQuantities(c.Resources.Limits)
	roundQuantities(c.Resources.Requests)
}

func defaultEnv(env *corev1.EnvVar) {
	if env.ValueFrom == nil {
		return
	}
	if ref := env.ValueFrom.FieldRef; ref != nil {
		setDefault(&ref.APIVersion, "v1")
	}
	if ref := env.ValueFrom.FileKeyRef; ref != nil {
		setPointer(&ref.Optional, false)
	}
}

func defaultProbe(p *corev1.Probe) {
	if p == nil {
		return
	}
	setDefault(&p.TimeoutSeconds, 1)
	setDefault(&p.PeriodSeconds, 10)
	setDefault(&p.SuccessThreshold, 1)
	setDefault(&p.FailureThreshold, 3)
	defaultHTTPGet(p.HTTPGet)
	if p.GRPC != nil {
		setPointer(&p.GRPC.Service, "")
	}
}

func defaultLifecycleHandler(h *corev1.LifecycleHandler) {
	if h != nil {
		defaultHTTPGet(h.HTTPGet)
	}
}

func defaultHTTPGet(get *corev1.HTTPGetAction) {
	if get != nil {
		setDefault(&get.Path, "/")
		setDefault(&get.Scheme, corev1.URISchemeHTTP)
	}
}

// PullPolicyFor returns when an image is pulled if nobody says: Always if it can
// change under its name, as it is tagged latest or not tagged at all. What is no
// image's name has no tag either, but counts as if it had.
func PullPolicyFor(image string) corev1.PullPolicy {
	if strings.Contains(image, "@") {
		return corev1.PullIfNotPresent
	}
	name := image[strings.LastIndex(image, "/")+1:]
	if _, tag, found := strings.Cut(name, ":"); found && tag != "latest" {
		return corev1.PullIfNotPresent
	}
	if _, err := reference.ParseNormalizedNamed(image); err != nil { // last, as it takes longest
		return corev1.PullIfNotPresent
	}
	return corev1.PullAlways
}

// requestLimits makes a container request what it is limited to, where it
// does not say.
func requestLimits(r *corev1.ResourceRequirements) {
	for name, limit := range r.Limits {
		if _, set := r.Requests[name]; set {
			continue
		}
		if r.Requests == nil {
			r.Requests = corev1.ResourceList{}
		}
		r.Requests[name] = limit.DeepCopy()
	}
}

// requestPodLimits makes a pod with resources of its own request what its
// containers do, or else what it is limited to.
func requestPodLimits(spec *corev1.PodSpec) {
	r := spec.Resources
	if len(r.Limits) == 0 && len(r.Requests) == 0 {
		return
	}
	request := func(name corev1.ResourceName, q resource.Quantity) {
		if _, set := r.Requests[name]; set || len(podResourceName(name, nil)) > 0 {
			return
		}
		if r.Requests == nil {
			r.Requests = corev1.ResourceList{}
		}
		r.Requests[name] = q.DeepCopy()
	}
	for name, q := range requestsOf(spec) {
		if !isHugePages(name) {
			request(name, q)
		}
	}
	for name, limit := range r.Limits {
		request(name, limit)
	}
}

// exposeOnHost gives the ports of a pod in the host's network the same number
// on the host.
func exposeOnHost(ports []corev1.ContainerPort) {
	for i := range ports {
		setDefault(&ports[i].HostPort, ports[i].ContainerPort)
	}
}

// roundQuantities rounds up to the smallest unit that is accounted for, a
// thousandth.
func roundQuantities(list corev1.ResourceList) {
	for name, quantity := range list {
		quantity.RoundUp(resource.Milli)
		list[name] = quantity
	}
}

func setDefault[T comparable](p *T, value T) {
	if *p == *new(T) {
		*p = value
	}
}

func setPointer[T any](p **T, value T) {
	if *p == nil {
		*p = &value
	}
}
