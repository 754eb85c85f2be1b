package podworker

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	podresource "k8s.io/component-helpers/resource"

	"navarch.dev/navarch/agent/image"
	"navarch.dev/navarch/agent/podenv"
	"navarch.dev/navarch/agent/podlimits"
	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/volume"
)

// containerSpec says how a container is run.
func (m *Manager) containerSpec(ctx context.Context, in launchInput, id string, img image.Image, vols volume.Volumes) (runtime.ContainerSpec, error) {
	pod, c := in.pod, in.spec
	if in.target != "" && in.targetID == "" {
		return runtime.ContainerSpec{}, &launchError{reason: reasonConfigError, err: fmt.Errorf("unable to find target container %s", in.target)}
	}
	env, err := podenv.Make(ctx, pod, c, podenv.Source{
		Objects: m.deps.Objects, Files: filesOf(vols), Allocatable: m.allocatable(), Services: m.servicesOf(pod.Namespace),
	})
	if err != nil {
		return runtime.ContainerSpec{}, &launchError{reason: reasonConfigError, err: err}
	}
	security, err := securityOf(pod, c)
	if err != nil {
		return runtime.ContainerSpec{}, &launchError{reason: reasonConfigError, err: err}
	}
	mounts, err := m.deps.Volumes.Mounts(pod, c, vols, env.Lookup)
	if err != nil {
		return runtime.ContainerSpec{}, &launchError{reason: reasonConfigError, err: err}
	}
	blocks, err := m.deps.Volumes.Devices(c, vols)
	if err != nil {
		return runtime.ContainerSpec{}, &launchError{reason: reasonConfigError, err: err}
	}
	annotations, err := annotate(annotationResources, &c.Resources)
	if err != nil {
		return runtime.ContainerSpec{}, &launchError{reason: reasonConfigError, err: err}
	}
	devices, err := m.cdiDevices(pod, c)
	if err != nil {
		return runtime.ContainerSpec{}, &launchError{reason: reasonConfigError, err: err}
	}
	annotations[AnnotationImage], annotations[annotationPodImage] = c.Image, c.Image
	if in.restarts > 0 {
		annotations[annotationRestarts] = strconv.Itoa(in.restarts)
	}
	return runtime.ContainerSpec{
		ID: id, Name: c.Name, Attempt: in.attempt, ImageID: img.ID, Annotations: annotations,
		Command: podenv.ExpandAll(c.Command, env.Lookup), Args: podenv.ExpandAll(c.Args, env.Lookup),
		Env: append([]runtime.EnvVar{{Name: "HOSTNAME", Value: m.hostname(pod)}}, envVars(env)...),

		WorkingDir: c.WorkingDir, TTY: c.TTY, Stdin: c.Stdin, StdinOnce: c.StdinOnce,
		Mounts: m.withHosts(pod, c, mounts), Devices: blocks, CDIDevices: devices, Security: security,
		Resources: resourcesOf(pod, c), OOMScoreAdj: oomScore(pod, c, m.allocatable()),
		LogPath:                m.logPath(pod.Namespace, pod.Name, string(pod.UID), c.Name, in.attempt),
		TerminationMessagePath: c.TerminationMessagePath,
		TargetID:               in.targetID,
	}, nil
}

// filesOf opens what is in a pod's volumes; nil where these are nowhere.
func filesOf(vols volume.Volumes) podenv.Files {
	if vols == nil {
		return nil
	}
	return func(name, path string) (io.ReadCloser, error) { return vols.Open(name, path) }
}

func envVars(env *podenv.Env) []runtime.EnvVar {
	list := env.List()
	out := make([]runtime.EnvVar, 0, len(list))
	for _, kv := range list {
		name, value, _ := strings.Cut(kv, "=")
		out = append(out, runtime.EnvVar{Name: name, Value: value})
	}
	return out
}

// needsPodIP says whether a container must know its pod's address before it
// is created.
func needsPodIP(c *corev1.Container) bool {
	return slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool {
		return e.ValueFrom != nil && e.ValueFrom.FieldRef != nil && strings.HasPrefix(e.ValueFrom.FieldRef.FieldPath, "status.podIP")
	})
}

func (m *Manager) servicesOf(namespace string) []*corev1.Service {
	services := m.deps.Services.InNamespace(namespace)
	if namespace != "default" {
		if api, ok := m.deps.Services.Get("default", "kubernetes"); ok {
			services = append(services, api)
		}
	}
	return services
}

// sandboxSpec says what the pod's containers share.
func (m *Manager) sandboxSpec(pod *corev1.Pod, netns string) (runtime.SandboxSpec, error) {
	dns, err := m.dns(pod)
	if err != nil {
		return runtime.SandboxSpec{}, err
	}
	users, err := m.takeUsers(pod)
	if err != nil {
		return runtime.SandboxSpec{}, err
	}
	annotations, err := annotate(annotationAllocation, allocationOf(pod))
	if err != nil {
		return runtime.SandboxSpec{}, err
	}
	spec := runtime.SandboxSpec{
		Annotations: annotations,
		UID:         string(pod.UID), Namespace: pod.Namespace, Name: pod.Name, Hostname: m.hostname(pod), NetNSPath: netns,
		HostNetwork: pod.Spec.HostNetwork, HostPID: pod.Spec.HostPID, HostIPC: pod.Spec.HostIPC, Users: users,
		ShareProcessNamespace: pod.Spec.ShareProcessNamespace != nil && *pod.Spec.ShareProcessNamespace,
		DNS:                   dns, Resources: podResources(pod),
	}
	if sc := pod.Spec.SecurityContext; sc != nil && len(sc.Sysctls) > 0 {
		spec.Sysctls = make(map[string]string, len(sc.Sysctls))
		for _, s := range sc.Sysctls {
			spec.Sysctls[s.Name] = s.Value
		}
	}
	return spec, nil
}

// resourcesOf are a container's limits. What it does not limit itself, its pod
// does.
func resourcesOf(pod *corev1.Pod, c *corev1.Container) runtime.Resources {
	limit := func(name corev1.ResourceName) resource.Quantity {
		q := c.Resources.Limits[name]
		if own := pod.Spec.Resources; own != nil && q.IsZero() {
			q = own.Limits[name]
		}
		return q
	}
	cpu, memory := limit(corev1.ResourceCPU), limit(corev1.ResourceMemory)
	request, requested := c.Resources.Requests[corev1.ResourceCPU]
	if !requested {
		request = cpu
	}
	return runtime.Resources{
		CPUShares: runtime.SharesForMilliCPU(request.MilliValue()), CPUQuota: runtime.QuotaForMilliCPU(cpu.MilliValue()), MemoryLimit: memory.Value(),
	}
}

// podResources are the limits of the pod as a whole.
func podResources(pod *corev1.Pod) runtime.Resources {
	requests := podresource.PodRequests(pod, podresource.PodResourcesOptions{})
	r := runtime.Resources{CPUShares: runtime.SharesForMilliCPU(requests.Cpu().MilliValue()), MemoryLimit: podlimits.Of(pod, corev1.ResourceMemory)}
	if cpu := podlimits.Of(pod, corev1.ResourceCPU); cpu > 0 {
		r.CPUQuota = runtime.QuotaForMilliCPU(cpu)
	}
	return r
}

// logPath returns where an attempt of a container logs to; empty is nowhere.
func (m *Manager) logPath(namespace, pod, uid, name string, attempt uint32) string {
	if m.cfg.LogsDir == "" {
		return ""
	}
	return filepath.Join(m.containerLogDir(namespace, pod, uid, name), strconv.FormatUint(uint64(attempt), 10)+".log")
}

func (m *Manager) containerLogDir(namespace, pod, uid, name string) string {
	return filepath.Join(m.logDir(namespace, pod, uid), name)
}

func (m *Manager) logDir(namespace, pod, uid string) string {
	return filepath.Join(m.cfg.LogsDir, fmt.Sprintf("%s_%s_%s", namespace, pod, uid))
}
