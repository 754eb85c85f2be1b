package podworker

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/runtime"
)

// What would keep a pod apart from the node, and the agent cannot give it, is never
// left out: the pod does not run then.

// refuseAppArmor says why the profiles of AppArmor that a pod asks for cannot be
// enforced; empty if they can.
func (m *Manager) refuseAppArmor(pod *corev1.Pod) string {
	if !wantsAppArmor(pod) {
		return ""
	}
	err := m.cfg.AppArmor.Problem
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if err == nil {
				err = m.unenforceable(appArmorProfile(pod, &list[i]))
			}
		}
	}
	if err == nil {
		return ""
	}
	return fmt.Sprintf("Cannot enforce AppArmor: %v", err)
}

func (m *Manager) unenforceable(p *corev1.AppArmorProfile) error {
	switch {
	case p == nil:
		return nil
	case p.Type == corev1.AppArmorProfileTypeRuntimeDefault:
		return m.cfg.AppArmor.DefaultProblem
	case p.Type == corev1.AppArmorProfileTypeLocalhost && (p.LocalhostProfile == nil || strings.TrimSpace(*p.LocalhostProfile) == ""):
		return fmt.Errorf("invalid empty AppArmor profile name: %q", p)
	}
	return nil
}

// wantsAppArmor says whether a profile of AppArmor is to confine the pod or one of
// its containers.
func wantsAppArmor(pod *corev1.Pod) bool {
	confines := func(p *corev1.AppArmorProfile) bool {
		return p != nil && p.Type != corev1.AppArmorProfileTypeUnconfined
	}
	if sc := pod.Spec.SecurityContext; sc != nil && confines(sc.AppArmorProfile) {
		return true
	}
	inContainer := func(c corev1.Container) bool {
		return c.SecurityContext != nil && confines(c.SecurityContext.AppArmorProfile)
	}
	if slices.ContainsFunc(pod.Spec.InitContainers, inContainer) || slices.ContainsFunc(pod.Spec.Containers, inContainer) {
		return true
	}
	for name, profile := range pod.Annotations {
		if strings.HasPrefix(name, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix) && profile != corev1.DeprecatedAppArmorBetaProfileNameUnconfined {
			return true
		}
	}
	return false
}

// appArmorProfile is the one that a container is to have: its own, that of the
// annotation of old, or its pod's; nil if none of them says.
func appArmorProfile(pod *corev1.Pod, c *corev1.Container) *corev1.AppArmorProfile {
	if sc := c.SecurityContext; sc != nil && sc.AppArmorProfile != nil {
		return sc.AppArmorProfile
	}
	if p := annotatedProfile(pod.Annotations[corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix+c.Name]); p != nil {
		return p
	}
	if sc := pod.Spec.SecurityContext; sc != nil {
		return sc.AppArmorProfile
	}
	return nil
}

// annotatedProfile reads an annotation's value; nil if it is none.
func annotatedProfile(value string) *corev1.AppArmorProfile {
	switch value {
	case corev1.DeprecatedAppArmorBetaProfileRuntimeDefault:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	case corev1.DeprecatedAppArmorBetaProfileNameUnconfined:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	}
	if name, ok := strings.CutPrefix(value, corev1.DeprecatedAppArmorBetaProfileNamePrefix); ok {
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: &name}
	}
	return nil
}

func setAppArmor(s *runtime.Security, p *corev1.AppArmorProfile) {
	if p == nil {
		return
	}
	switch p.Type {
	case corev1.AppArmorProfileTypeRuntimeDefault:
		s.AppArmor = runtime.AppArmorRuntimeDefault
	case corev1.AppArmorProfileTypeLocalhost:
		s.AppArmor = runtime.AppArmorLocalhost
		if p.LocalhostProfile != nil {
			s.AppArmorProfile = *p.LocalhostProfile
		}
	default:
		s.AppArmor = runtime.AppArmorUnconfined
	}
}
