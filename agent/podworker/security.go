package podworker

import (
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/runtime"
)

var errRootForbidden = errors.New("container's runAsUser breaks non-root policy")

// inPod names a container in the words that users know.
func inPod(pod *corev1.Pod, c *corev1.Container) string {
	return fmt.Sprintf(`pod: "%s_%s(%s)", container: %s`, pod.Name, pod.Namespace, pod.UID, c.Name)
}

// securityOf merges the pod's security context with the container's, which
// wins.
func securityOf(pod *corev1.Pod, c *corev1.Container) (runtime.Security, error) {
	var s runtime.Security
	if p := pod.Spec.SecurityContext; p != nil {
		s.RunAsUser, s.RunAsGroup = p.RunAsUser, p.RunAsGroup
		s.RunAsNonRoot = p.RunAsNonRoot != nil && *p.RunAsNonRoot
		s.SupplementalGroups = slices.Clone(p.SupplementalGroups)
		if p.FSGroup != nil {
			s.SupplementalGroups = append(s.SupplementalGroups, *p.FSGroup)
		}
		s.StrictSupplementalGroups = p.SupplementalGroupsPolicy != nil && *p.SupplementalGroupsPolicy == corev1.SupplementalGroupsPolicyStrict
		setSeccomp(&s, p.SeccompProfile)
	}
	if sc := c.SecurityContext; sc != nil {
		applyContainer(&s, sc)
	}
	setAppArmor(&s, appArmorProfile(pod, c))
	if s.RunAsNonRoot && s.RunAsUser != nil && *s.RunAsUser == 0 {
		return s, fmt.Errorf("%w (%s)", errRootForbidden, inPod(pod, c))
	}
	return s, nil
}

func applyContainer(s *runtime.Security, sc *corev1.SecurityContext) {
	if sc.RunAsUser != nil {
		s.RunAsUser = sc.RunAsUser
	}
	if sc.RunAsGroup != nil {
		s.RunAsGroup = sc.RunAsGroup
	}
	if sc.RunAsNonRoot != nil {
		s.RunAsNonRoot = *sc.RunAsNonRoot
	}
	s.Privileged = sc.Privileged != nil && *sc.Privileged
	s.NoNewPrivileges = sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation && !s.Privileged
	s.ReadOnlyRootFS = sc.ReadOnlyRootFilesystem != nil && *sc.ReadOnlyRootFilesystem
	s.UnmaskedProc = sc.ProcMount != nil && *sc.ProcMount == corev1.UnmaskedProcMount
	if sc.Capabilities != nil {
		for _, name := range sc.Capabilities.Add {
			s.AddCapabilities = append(s.AddCapabilities, string(name))
		}
		for _, name := range sc.Capabilities.Drop {
			s.DropCapabilities = append(s.DropCapabilities, string(name))
		}
	}
	setSeccomp(s, sc.SeccompProfile)
}

func setSeccomp(s *runtime.Security, p *corev1.SeccompProfile) {
	if p == nil {
		return
	}
	switch p.Type {
	case corev1.SeccompProfileTypeRuntimeDefault:
		s.Seccomp = runtime.SeccompRuntimeDefault
	case corev1.SeccompProfileTypeLocalhost:
		s.Seccomp = runtime.SeccompLocalhost
		if p.LocalhostProfile != nil {
			s.SeccompProfile = *p.LocalhostProfile
		}
	default:
		s.Seccomp = runtime.SeccompUnconfined
	}
}
