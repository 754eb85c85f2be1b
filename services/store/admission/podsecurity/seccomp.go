package podsecurity

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const seccompReason = "seccompProfile"

// The annotations that set seccomp profiles before there were fields for it.
const (
	seccompOfPod       = "seccomp.security.alpha.kubernetes.io/pod"
	seccompOfContainer = "container.seccomp.security.alpha.kubernetes.io/"
)

// seccompFields is the first version with fields for seccomp profiles.
const seccompFields Version = 19

// unconfined returns what sets a profile that confines nothing.
func unconfined(p pod) offenders {
	var bad offenders
	forbidden := func(profile *corev1.SeccompProfile) bool {
		if profile == nil || profile.Type == corev1.SeccompProfileTypeLocalhost || profile.Type == corev1.SeccompProfileTypeRuntimeDefault {
			return false
		}
		bad.with(string(profile.Type))
		return true
	}
	bad.pod = forbidden(p.context().SeccompProfile)
	bad.containers = p.blame(func(c *corev1.SecurityContext) bool { return forbidden(c.SeccompProfile) })
	return bad
}

func seccompIfSet(p pod) *Violation {
	if p.version < seccompFields {
		return seccompAnnotations(p)
	}
	bad := unconfined(p)
	if !bad.any() {
		return nil
	}
	return &Violation{seccompReason, fmt.Sprintf("%s must not set securityContext.seccompProfile.type to %s", bad.String(), quoted(bad.sortedValues()))}
}

func seccompAnnotations(p pod) *Violation {
	keys := []string{seccompOfPod}
	for _, c := range p.containers() {
		keys = append(keys, seccompOfContainer+c.Name)
	}
	var forbidden []string
	for _, key := range keys {
		value, set := p.annotations[key]
		if set && value != corev1.SeccompProfileRuntimeDefault && value != corev1.DeprecatedSeccompProfileDockerDefault &&
			!strings.HasPrefix(value, corev1.SeccompLocalhostProfileNamePrefix) {
			forbidden = append(forbidden, fmt.Sprintf("%s=%q", key, value))
		}
	}
	if len(forbidden) == 0 {
		return nil
	}
	slices.Sort(forbidden)
	return &Violation{seccompReason, fmt.Sprintf("forbidden %s %s", number(len(forbidden), "annotation", "annotations"), strings.Join(forbidden, ", "))}
}

func seccompRequired(p pod) *Violation {
	if p.version >= windowsExempt && p.onWindows() {
		return nil
	}
	if v := seccompIfSet(p); v != nil {
		return v
	}
	if p.context().SeccompProfile != nil {
		return nil
	}
	silent := p.blame(func(c *corev1.SecurityContext) bool { return c.SeccompProfile == nil })
	if len(silent) == 0 {
		return nil
	}
	return &Violation{seccompReason, "pod or " + containerNames(silent) + ` must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"`}
}
