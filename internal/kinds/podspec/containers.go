package podspec

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// containerCheck validates the containers of one pod; names and host ports
// must be unique among all of them.
type containerCheck struct {
	spec    *corev1.PodSpec
	volumes map[string]corev1.VolumeSource
	names   sets.Set[string]
	host    sets.Set[string]
}

func (c *containerCheck) containers(path *field.Path) field.ErrorList {
	c.names, c.host = sets.New[string](), sets.New[string]()
	var errs field.ErrorList
	at := path.Child("containers")
	if len(c.spec.Containers) == 0 {
		errs = append(errs, field.Required(at, ""))
	}
	for i := range c.spec.Containers {
		errs = append(errs, c.regular(&c.spec.Containers[i], at.Index(i))...)
	}
	for i := range c.spec.InitContainers {
		errs = append(errs, c.initContainer(&c.spec.InitContainers[i], path.Child("initContainers").Index(i))...)
	}
	for i := range c.spec.EphemeralContainers {
		errs = append(errs, c.ephemeral(&c.spec.EphemeralContainers[i], path.Child("ephemeralContainers").Index(i))...)
	}
	return errs
}

func (c *containerCheck) regular(container *corev1.Container, path *field.Path) field.ErrorList {
	errs := c.shared(container, path)
	if p := container.RestartPolicy; p != nil {
		errs = append(errs, oneOf(*p, path.Child("restartPolicy"),
			corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyOnFailure, corev1.ContainerRestartPolicyNever)...)
	}
	return append(errs, validateProbes(container, path)...)
}

// initContainer: only those that restart always (sidecars) have probes and
// hooks, the others end before anyone could ask them.
func (c *containerCheck) initContainer(container *corev1.Container, path *field.Path) field.ErrorList {
	errs := c.shared(container, path)
	if p := container.RestartPolicy; p != nil {
		errs = append(errs, oneOf(*p, path.Child("restartPolicy"),
			corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyOnFailure, corev1.ContainerRestartPolicyNever)...)
		if *p == corev1.ContainerRestartPolicyAlways {
			return append(errs, validateProbes(container, path)...)
		}
	}
	checks := map[string]bool{
		"lifecycle": container.Lifecycle != nil, "livenessProbe": container.LivenessProbe != nil,
		"readinessProbe": container.ReadinessProbe != nil, "startupProbe": container.StartupProbe != nil,
	}
	for _, name := range sortedKeys(checks) {
		set := checks[name]
		if set {
			errs = append(errs, field.Forbidden(path.Child(name), "may not be set for init containers without restartPolicy=Always"))
		}
	}
	return errs
}

func (c *containerCheck) ephemeral(e *corev1.EphemeralContainer, path *field.Path) field.ErrorList {
	container := corev1.Container(e.EphemeralContainerCommon)
	errs := c.shared(&container, path)
	checks := map[string]bool{
		"ports": len(container.Ports) > 0, "livenessProbe": container.LivenessProbe != nil,
		"readinessProbe": container.ReadinessProbe != nil, "startupProbe": container.StartupProbe != nil,
		"lifecycle": container.Lifecycle != nil,
		"resources": len(container.Resources.Limits)+len(container.Resources.Requests) > 0,
	}
	for _, name := range sortedKeys(checks) {
		set := checks[name]
		if set {
			errs = append(errs, field.Forbidden(path.Child(name), "cannot be set for an Ephemeral Container"))
		}
	}
	if target := e.TargetContainerName; target != "" && !c.hasContainer(target) {
		errs = append(errs, field.NotFound(path.Child("targetContainerName"), target))
	}
	return errs
}

func (c *containerCheck) hasContainer(name string) bool {
	for other := range eachContainer(c.spec) {
		if other.Name == name {
			return true
		}
	}
	return false
}

// shared is what holds for containers of every sort.
func (c *containerCheck) shared(container *corev1.Container, path *field.Path) field.ErrorList {
	errs := c.name(container.Name, path.Child("name"))
	switch {
	case container.Image == "":
		errs = append(errs, field.Required(path.Child("image"), ""))
	case strings.TrimSpace(container.Image) != container.Image:
		errs = append(errs, field.Invalid(path.Child("image"), container.Image, "must not have leading or trailing whitespace"))
	}
	errs = append(errs, oneOf(container.ImagePullPolicy, path.Child("imagePullPolicy"),
		corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	errs = append(errs, oneOf(container.TerminationMessagePolicy, path.Child("terminationMessagePolicy"),
		corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)...)
	errs = append(errs, c.ports(container.Ports, path.Child("ports"))...)
	errs = append(errs, validateEnv(container.Env, path.Child("env"))...)
	errs = append(errs, validateEnvFrom(container.EnvFrom, path.Child("envFrom"))...)
	errs = append(errs, c.mounts(container, path)...)
	errs = append(errs, ValidateResources(&container.Resources, path.Child("resources"))...)
	errs = append(errs, validateResizePolicy(container.ResizePolicy, path.Child("resizePolicy"))...)
	return append(errs, validateContainerSecurity(container.SecurityContext, path.Child("securityContext"))...)
}

func (c *containerCheck) name(name string, path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	errs := invalids(path, name, validation.IsDNS1123Label(name))
	if c.names.Has(name) {
		errs = append(errs, field.Duplicate(path, name))
	}
	c.names.Insert(name)
	return errs
}

func (c *containerCheck) ports(ports []corev1.ContainerPort, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := sets.New[string]()
	for i, port := range ports {
		at := path.Index(i)
		if port.Name != "" {
			errs = append(errs, invalids(at.Child("name"), port.Name, validation.IsValidPortName(port.Name))...)
			if names.Has(port.Name) {
				errs = append(errs, field.Duplicate(at.Child("name"), port.Name))
			}
			names.Insert(port.Name)
		}
		if port.ContainerPort == 0 {
			errs = append(errs, field.Required(at.Child("containerPort"), ""))
		} else {
			errs = append(errs, invalids(at.Child("containerPort"), port.ContainerPort, validation.IsValidPortNum(int(port.ContainerPort)))...)
		}
		errs = append(errs, oneOf(port.Protocol, at.Child("protocol"), corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)...)
		errs = append(errs, c.hostPort(port, at.Child("hostPort"))...)
	}
	return errs
}

func (c *containerCheck) hostPort(port corev1.ContainerPort, path *field.Path) field.ErrorList {
	if port.HostPort == 0 {
		return nil
	}
	errs := invalids(path, port.HostPort, validation.IsValidPortNum(int(port.HostPort)))
	if c.spec.HostNetwork && port.HostPort != port.ContainerPort {
		errs = append(errs, field.Invalid(path, port.HostPort, "must match `containerPort` when `hostNetwork` is true"))
	}
	key := fmt.Sprintf("%s/%s/%d", port.Protocol, port.HostIP, port.HostPort)
	if c.host.Has(key) {
		errs = append(errs, field.Duplicate(path, key))
	}
	c.host.Insert(key)
	return errs
}

func (c *containerCheck) mounts(container *corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	paths := sets.New[string]()
	for i := range container.VolumeMounts {
		m := &container.VolumeMounts[i]
		at := path.Child("volumeMounts").Index(i)
		if m.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else if _, ok := c.volumes[m.Name]; !ok {
			errs = append(errs, field.NotFound(at.Child("name"), m.Name))
		}
		if m.MountPath == "" {
			errs = append(errs, field.Required(at.Child("mountPath"), ""))
		} else if paths.Has(m.MountPath) {
			errs = append(errs, field.Invalid(at.Child("mountPath"), m.MountPath, "must be unique"))
		}
		paths.Insert(m.MountPath)
		errs = append(errs, validateMount(m, container, at)...)
	}
	for i, d := range container.VolumeDevices {
		at := path.Child("volumeDevices").Index(i)
		if d.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else if source, ok := c.volumes[d.Name]; !ok {
			errs = append(errs, field.NotFound(at.Child("name"), d.Name))
		} else if source.PersistentVolumeClaim == nil && source.Ephemeral == nil {
			errs = append(errs, field.Invalid(at.Child("name"), d.Name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"))
		}
		if d.DevicePath == "" {
			errs = append(errs, field.Required(at.Child("devicePath"), ""))
		} else if paths.Has(d.DevicePath) {
			errs = append(errs, field.Invalid(at.Child("devicePath"), d.DevicePath, "must not already exist in volumeMounts"))
		}
	}
	return errs
}

func validateMount(m *corev1.VolumeMount, container *corev1.Container, path *field.Path) field.ErrorList {
	errs := descending(m.SubPath, path.Child("subPath"))
	errs = append(errs, descending(m.SubPathExpr, path.Child("subPathExpr"))...)
	if m.SubPath != "" && m.SubPathExpr != "" {
		errs = append(errs, field.Invalid(path.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive"))
	}
	if p := m.MountPropagation; p != nil {
		errs = append(errs, oneOf(*p, path.Child("mountPropagation"),
			corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer, corev1.MountPropagationNone)...)
		privileged := container.SecurityContext != nil && deref(container.SecurityContext.Privileged)
		if *p == corev1.MountPropagationBidirectional && !privileged {
			errs = append(errs, field.Forbidden(path.Child("mountPropagation"), "Bidirectional mount propagation is available only to privileged containers"))
		}
	}
	return errs
}

// descending says that a path must stay below the folder it is relative to.
func descending(p string, path *field.Path) field.ErrorList {
	if p == "" {
		return nil
	}
	var errs field.ErrorList
	if strings.HasPrefix(p, "/") {
		errs = append(errs, field.Invalid(path, p, "must be a relative path"))
	}
	return append(errs, noBacksteps(p, path)...)
}

func noBacksteps(p string, path *field.Path) field.ErrorList {
	for _, part := range strings.Split(strings.ReplaceAll(p, "\\", "/"), "/") {
		if part == ".." {
			return field.ErrorList{field.Invalid(path, p, "must not contain '..'")}
		}
	}
	return nil
}
