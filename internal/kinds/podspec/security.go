package podspec

import (
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

func validateSecurity(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	s, at := spec.SecurityContext, path.Child("securityContext")
	if s == nil {
		s = &corev1.PodSecurityContext{}
	}
	errs := rule.Join(
		rule.Optional(s.FSGroup, at.Child("fsGroup"), groupID),
		rule.Optional(s.RunAsUser, at.Child("runAsUser"), userID),
		rule.Optional(s.RunAsGroup, at.Child("runAsGroup"), groupID),
		rule.Each(s.SupplementalGroups, at.Child("supplementalGroups"), func(g *int64, at *field.Path) field.ErrorList { return groupID(*g, at) }),
	)
	if deref(spec.ShareProcessNamespace) && spec.HostPID {
		errs = append(errs, field.Invalid(at.Child("shareProcessNamespace"), true, "ShareProcessNamespace and HostPID cannot both be enabled"))
	}
	return rule.Join(errs,
		validateSysctls(s.Sysctls, spec, at.Child("sysctls")),
		rule.OptionalOf(s.FSGroupChangePolicy, at.Child("fsGroupChangePolicy"), corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch),
		validateSeccomp(s.SeccompProfile, at.Child("seccompProfile")),
		validateWindowsOptions(s.WindowsOptions, at.Child("windowsOptions")),
		validateAppArmor(s.AppArmorProfile, at.Child("appArmorProfile")),
		rule.OptionalOf(s.SupplementalGroupsPolicy, at.Child("supplementalGroupsPolicy"), corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict),
		rule.OptionalOf(s.SELinuxChangePolicy, at.Child("seLinuxChangePolicy"), corev1.SELinuxChangePolicyMountOption, corev1.SELinuxChangePolicyRecursive),
	)
}

func userID(id int64, at *field.Path) field.ErrorList {
	return rule.Invalids(at, id, validation.IsValidUserID(id))
}

func groupID(id int64, at *field.Path) field.ErrorList {
	return rule.Invalids(at, id, validation.IsValidGroupID(id))
}

const (
	longestSysctl = 253
	sysctlSegment = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
	sysctlForm    = `^(` + sysctlSegment + `[\./])*` + sysctlSegment + `$`
)

// validateSysctls: a pod sets what is its own; what it shares with the host is
// the host's.
func validateSysctls(sysctls []corev1.Sysctl, spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	if len(sysctls) == 0 {
		return nil
	}
	form, seen := regexp.MustCompile(sysctlForm), rule.Seen[string]{}
	return rule.Each(sysctls, at, func(s *corev1.Sysctl, at *field.Path) field.ErrorList {
		var errs field.ErrorList
		name := at.Child("name")
		switch {
		case s.Name == "":
			errs = append(errs, field.Required(name, ""))
		case len(s.Name) > longestSysctl || !form.MatchString(s.Name):
			errs = append(errs, field.Invalid(name, s.Name, fmt.Sprintf("must have at most %d characters and match regex %s", longestSysctl, sysctlForm)))
		default:
			errs = append(errs, seen.Once(s.Name, name)...)
		}
		switch dotted := strings.ReplaceAll(s.Name, "/", "."); {
		case spec.HostNetwork && strings.HasPrefix(dotted, "net."):
			errs = append(errs, field.Invalid(name, s.Name, "may not be specified when 'hostNetwork' is true"))
		case spec.HostIPC && (strings.HasPrefix(dotted, "kernel.shm") || strings.HasPrefix(dotted, "kernel.msg") ||
			dotted == "kernel.sem" || strings.HasPrefix(dotted, "fs.mqueue.")):
			errs = append(errs, field.Invalid(name, s.Name, "may not be specified when 'hostIPC' is true"))
		}
		return errs
	})
}

func validateContainerSecurity(s *corev1.SecurityContext, spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	if s == nil {
		return nil
	}
	errs := rule.Join(
		rule.Optional(s.RunAsUser, at.Child("runAsUser"), userID),
		rule.Optional(s.RunAsGroup, at.Child("runAsGroup"), groupID),
		rule.OptionalOf(s.ProcMount, at.Child("procMount"), corev1.DefaultProcMount, corev1.UnmaskedProcMount),
	)
	hostUsers := spec.HostUsers == nil || *spec.HostUsers
	if hostUsers && deref(s.ProcMount) == corev1.UnmaskedProcMount {
		errs = append(errs, field.Invalid(at.Child("procMount"), s.ProcMount, "`hostUsers` must be false to use `Unmasked`"))
	}
	errs = append(errs, validateSeccomp(s.SeccompProfile, at.Child("seccompProfile"))...)
	if s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation {
		errs = append(errs, escalations(s, at)...)
	}
	return rule.Join(errs,
		validateWindowsOptions(s.WindowsOptions, at.Child("windowsOptions")),
		validateAppArmor(s.AppArmorProfile, at.Child("appArmorProfile")),
	)
}

// escalations are the privileges that contradict a ban on gaining any.
func escalations(s *corev1.SecurityContext, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if deref(s.Privileged) {
		errs = append(errs, field.Invalid(at, s, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"))
	}
	if s.Capabilities == nil {
		return errs
	}
	for _, capability := range s.Capabilities.Add {
		if capability == "CAP_SYS_ADMIN" {
			errs = append(errs, field.Invalid(at, s, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"))
		}
	}
	return errs
}

func validateSeccomp(p *corev1.SeccompProfile, at *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	var errs field.ErrorList
	if p.Type == "" {
		errs = append(errs, field.Required(at.Child("type"), "type is required when seccompProfile is set"))
	} else {
		errs = rule.Supported(p.Type, at.Child("type"), corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined)
	}
	switch local, profile := p.Type == corev1.SeccompProfileTypeLocalhost, at.Child("localhostProfile"); {
	case local && p.LocalhostProfile == nil:
		errs = append(errs, field.Required(profile, "must be set when seccomp type is Localhost"))
	case local:
		errs = append(errs, rule.Descending(*p.LocalhostProfile, profile)...)
	case p.LocalhostProfile != nil:
		errs = append(errs, field.Invalid(profile, p, "can only be set when seccomp type is Localhost"))
	}
	return errs
}

// longestProfile is the length of the longest path, without its end.
const longestProfile = 4095

func validateAppArmor(p *corev1.AppArmorProfile, at *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	if p.Type == "" {
		return field.ErrorList{field.Required(at.Child("type"), "type is required when appArmorProfile is set")}
	}
	profile := at.Child("localhostProfile")
	if p.Type != corev1.AppArmorProfileTypeLocalhost {
		errs := rule.Supported(p.Type, at.Child("type"), corev1.AppArmorProfileTypeLocalhost, corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined)
		if len(errs) == 0 && p.LocalhostProfile != nil {
			errs = append(errs, field.Invalid(profile, *p.LocalhostProfile, "can only be set when AppArmor type is Localhost"))
		}
		return errs
	}
	name := deref(p.LocalhostProfile)
	var errs field.ErrorList
	switch {
	case strings.TrimSpace(name) != name:
		errs = append(errs, field.Invalid(profile, name, "must not be padded with whitespace"))
	case name == "":
		errs = append(errs, field.Required(profile, "must be set when AppArmor type is Localhost"))
	}
	if len(name) > longestProfile {
		errs = append(errs, field.TooLong(profile, name, longestProfile))
	}
	return errs
}

// validateHostUsers: users that are not the host's cannot share its other
// namespaces, nor be let into a block device.
func validateHostUsers(spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	if spec.HostUsers == nil || *spec.HostUsers {
		return nil
	}
	const why = "when `hostUsers` is false"
	errs := rule.Forbid(at, why,
		rule.Set("hostNetwork", spec.HostNetwork), rule.Set("hostPID", spec.HostPID), rule.Set("hostIPC", spec.HostIPC))
	devices := func(list string, i int, devices []corev1.VolumeDevice) {
		if len(devices) > 0 {
			errs = append(errs, field.Forbidden(at.Child(list).Index(i).Child("volumeDevices"), why))
		}
	}
	for i := range spec.InitContainers {
		devices("initContainers", i, spec.InitContainers[i].VolumeDevices)
	}
	for i := range spec.Containers {
		devices("containers", i, spec.Containers[i].VolumeDevices)
	}
	for i := range spec.EphemeralContainers {
		devices("ephemeralContainers", i, spec.EphemeralContainers[i].VolumeDevices)
	}
	return errs
}
