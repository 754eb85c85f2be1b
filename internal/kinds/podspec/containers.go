package podspec

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

// containers validates the containers of a pod, whose names must be unique
// among all of them.
func (c podCheck) containers(at *field.Path) field.ErrorList {
	if len(c.spec.Containers) == 0 {
		return field.ErrorList{field.Required(at.Child("containers"), "")}
	}
	names, ports := rule.Seen[string]{}, rule.Seen[string]{}
	errs := rule.Each(c.spec.Containers, at.Child("containers"), func(container *corev1.Container, at *field.Path) field.ErrorList {
		return rule.Join(c.common(container, at), names.Once(container.Name, at.Child("name")), c.running(container, at), restartRules(container, at))
	})
	return rule.Join(errs,
		rule.Each(c.spec.Containers, at.Child("containers"), uniqueHostPorts(ports)),
		rule.Each(c.spec.InitContainers, at.Child("initContainers"), func(container *corev1.Container, at *field.Path) field.ErrorList {
			return c.initContainer(container, names, at)
		}),
		rule.Each(c.spec.EphemeralContainers, at.Child("ephemeralContainers"), func(e *corev1.EphemeralContainer, at *field.Path) field.ErrorList {
			return c.ephemeral(e, names, at)
		}))
}

// running is what only containers have that go on running: regular ones and
// sidecars.
func (c podCheck) running(container *corev1.Container, at *field.Path) field.ErrorList {
	return rule.Join(validateLifecycle(container.Lifecycle, c.spec, at.Child("lifecycle")), validateProbes(container, at))
}

// initContainer: only those that restart always (sidecars) have probes and
// hooks, the others end before anyone could ask them.
func (c podCheck) initContainer(container *corev1.Container, names rule.Seen[string], at *field.Path) field.ErrorList {
	errs := rule.Join(c.common(container, at), restartRules(container, at))
	if container.Name != "" {
		errs = append(errs, names.Once(container.Name, at.Child("name"))...)
	}
	errs = append(errs, uniqueHostPorts(rule.Seen[string]{})(container, at)...)
	if isSidecar(container) {
		return append(errs, c.running(container, at)...)
	}
	errs = append(errs, rule.Forbid(at, "may not be set for init containers without restartPolicy=Always",
		rule.Set("lifecycle", container.Lifecycle != nil), rule.Set("livenessProbe", container.LivenessProbe != nil),
		rule.Set("readinessProbe", container.ReadinessProbe != nil), rule.Set("startupProbe", container.StartupProbe != nil))...)
	for i, p := range container.ResizePolicy {
		if p.RestartPolicy == corev1.RestartContainer {
			errs = append(errs, field.Invalid(at.Child("resizePolicy").Index(i).Child("restartPolicy"), p.RestartPolicy,
				"must not be set to 'RestartContainer' for non-sidecar initContainers"))
		}
	}
	return errs
}

func isSidecar(c *corev1.Container) bool {
	return deref(c.RestartPolicy) == corev1.ContainerRestartPolicyAlways
}

const notEphemeral = "cannot be set for an Ephemeral Container"

// ephemeral: what joins a pod to look at it is not part of what the pod does,
// so it has no ports, no resources and no probes.
func (c podCheck) ephemeral(e *corev1.EphemeralContainer, names rule.Seen[string], at *field.Path) field.ErrorList {
	container := corev1.Container(e.EphemeralContainerCommon)
	errs := rule.Join(c.common(&container, at), trimmedImage(&container, at), names.Once(e.Name, at.Child("name")))
	if target := e.TargetContainerName; target != "" && !c.hasContainer(target) {
		errs = append(errs, field.NotFound(at.Child("targetContainerName"), target))
	}
	return rule.Join(errs,
		rule.Forbid(at, notEphemeral,
			rule.Set("ports", container.Ports != nil),
			rule.Set("resources", container.Resources.Limits != nil || container.Resources.Requests != nil || container.Resources.Claims != nil),
			rule.Set("resizePolicy", container.ResizePolicy != nil),
			rule.Set("restartPolicy", container.RestartPolicy != nil), rule.Set("restartPolicyRules", container.RestartPolicyRules != nil),
			rule.Set("livenessProbe", container.LivenessProbe != nil), rule.Set("readinessProbe", container.ReadinessProbe != nil),
			rule.Set("startupProbe", container.StartupProbe != nil), rule.Set("lifecycle", container.Lifecycle != nil)),
		rule.Each(e.VolumeMounts, at.Child("volumeMounts"), func(m *corev1.VolumeMount, at *field.Path) field.ErrorList {
			return rule.Forbid(at, notEphemeral, rule.Set("subPath", m.SubPath != ""), rule.Set("subPathExpr", m.SubPathExpr != ""))
		}))
}

func (c podCheck) hasContainer(name string) bool {
	for other := range eachContainer(c.spec) {
		if other.Name == name {
			return true
		}
	}
	return false
}

// common is what holds for containers of every sort.
func (c podCheck) common(container *corev1.Container, at *field.Path) field.ErrorList {
	return rule.Join(
		rule.Given(container.Name, at.Child("name"), validation.IsDNS1123Label),
		rule.Required(container.Image, at.Child("image")),
		rule.OneOf(container.TerminationMessagePolicy, at.Child("terminationMessagePolicy"),
			corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError),
		validatePorts(container.Ports, at.Child("ports")),
		validateEnv(container.Env, at.Child("env")),
		c.envFiles(container.Env, at.Child("env")),
		validateEnvFrom(container.EnvFrom, at.Child("envFrom")),
		c.mounts(container, at.Child("volumeMounts")),
		c.devices(container, at.Child("volumeDevices")),
		validatePullPolicy(container.ImagePullPolicy, at.Child("imagePullPolicy")),
		c.resources(&container.Resources, at.Child("resources")),
		c.resizePolicy(container.ResizePolicy, at.Child("resizePolicy")),
		validateContainerSecurity(container.SecurityContext, c.spec, at.Child("securityContext")),
	)
}

func validatePullPolicy(p corev1.PullPolicy, at *field.Path) field.ErrorList {
	return rule.OneOf(p, at, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)
}

func validatePorts(ports []corev1.ContainerPort, at *field.Path) field.ErrorList {
	names := rule.Seen[string]{}
	return rule.Each(ports, at, func(port *corev1.ContainerPort, at *field.Path) field.ErrorList {
		var errs field.ErrorList
		if port.Name != "" {
			errs = rule.Form(port.Name, at.Child("name"), validation.IsValidPortName)
			if len(errs) == 0 {
				errs = names.Once(port.Name, at.Child("name"))
			}
		}
		if port.ContainerPort == 0 {
			errs = append(errs, field.Required(at.Child("containerPort"), ""))
		} else {
			errs = append(errs, rule.Port(port.ContainerPort, at.Child("containerPort"))...)
		}
		if port.HostPort != 0 {
			errs = append(errs, rule.Port(port.HostPort, at.Child("hostPort"))...)
		}
		return append(errs, ValidateProtocol(port.Protocol, at.Child("protocol"))...)
	})
}

// ValidateProtocol returns what is wrong with the protocol of a port.
func ValidateProtocol(p corev1.Protocol, at *field.Path) field.ErrorList {
	return rule.OneOf(p, at, corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)
}

// uniqueHostPorts says that a port of the host goes to one container only.
func uniqueHostPorts(seen rule.Seen[string]) func(*corev1.Container, *field.Path) field.ErrorList {
	return func(c *corev1.Container, at *field.Path) field.ErrorList {
		return rule.Each(c.Ports, at.Child("ports"), func(port *corev1.ContainerPort, at *field.Path) field.ErrorList {
			if port.HostPort == 0 {
				return nil
			}
			return seen.Once(fmt.Sprintf("%s/%s/%d", port.Protocol, port.HostIP, port.HostPort), at.Child("hostPort"))
		})
	}
}

// hostPortsMatch: in the host's network a container's port is the host's. In a
// template it may be left open until the pods are made.
func (c podCheck) hostPortsMatch(at *field.Path) field.ErrorList {
	if !c.spec.HostNetwork {
		return nil
	}
	return rule.Each(c.spec.Containers, at, func(container *corev1.Container, at *field.Path) field.ErrorList {
		return rule.Each(container.Ports, at.Child("ports"), func(port *corev1.ContainerPort, at *field.Path) field.ErrorList {
			if port.HostPort == port.ContainerPort || (port.HostPort == 0 && c.pod == nil) {
				return nil
			}
			return field.ErrorList{field.Invalid(at.Child("hostPort"), port.HostPort, "must match `containerPort` when `hostNetwork` is true")}
		})
	})
}

const (
	maxRestartRules     = 20
	maxRestartExitCodes = 255
)

// restartRules: a container may have a restart policy of its own, and rules
// that except some exit codes from it.
func restartRules(c *corev1.Container, at *field.Path) field.ErrorList {
	errs := rule.OptionalOf(c.RestartPolicy, at.Child("restartPolicy"),
		corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure)
	rules := at.Child("restartPolicyRules")
	if c.RestartPolicy == nil && len(c.RestartPolicyRules) > 0 {
		errs = append(errs, field.Required(at.Child("restartPolicy"), "must specify restartPolicy when restart rules are used"))
	}
	return rule.Join(errs,
		rule.AtMost(len(c.RestartPolicyRules), maxRestartRules, rules),
		rule.Each(c.RestartPolicyRules, rules, func(r *corev1.ContainerRestartRule, at *field.Path) field.ErrorList {
			errs := rule.OneOf(r.Action, at.Child("action"), corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers)
			if r.ExitCodes == nil {
				return append(errs, field.Required(at.Child("exitCodes"), "must be specified"))
			}
			at = at.Child("exitCodes")
			errs = append(errs, rule.OneOf(r.ExitCodes.Operator, at.Child("operator"),
				corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn)...)
			if len(r.ExitCodes.Values) == 0 {
				errs = append(errs, field.Required(at.Child("values"), "at least one value is required"))
			}
			return append(errs, rule.AtMost(len(r.ExitCodes.Values), maxRestartExitCodes, at.Child("values"))...)
		}))
}
