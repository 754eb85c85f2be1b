package podspec

import (
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

// validateOS: a pod that says which system it is for sets only what that
// system has.
func validateOS(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	if spec.OS == nil {
		return nil
	}
	at := path.Child("os")
	switch spec.OS.Name {
	case "":
		return field.ErrorList{field.Required(at.Child("name"), "")}
	case corev1.Linux:
		return noWindowsOptions(spec, path)
	case corev1.Windows:
		return noLinuxOptions(spec, path)
	}
	return field.ErrorList{field.NotSupported(at, spec.OS.Name, []corev1.OSName{corev1.Linux, corev1.Windows})}
}

func noWindowsOptions(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	const why = "windows options cannot be set for a linux pod"
	at := path.Child("securityContext")
	var errs field.ErrorList
	if s := spec.SecurityContext; s != nil {
		errs = rule.Forbid(at, why, rule.Set("windowsOptions", s.WindowsOptions != nil))
	}
	return append(errs, eachSecurity(spec, path, func(s *corev1.SecurityContext, at *field.Path) field.ErrorList {
		return rule.Forbid(at, why, rule.Set("windowsOptions", s.WindowsOptions != nil))
	})...)
}

func noLinuxOptions(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	const why = "cannot be set for a windows pod"
	errs := rule.Forbid(path, why,
		rule.Set("hostUsers", spec.HostUsers != nil), rule.Set("hostPID", spec.HostPID), rule.Set("hostIPC", spec.HostIPC),
		rule.Set("shareProcessNamespace", spec.ShareProcessNamespace != nil))
	if s := spec.SecurityContext; s != nil {
		errs = append(errs, rule.Forbid(path.Child("securityContext"), why,
			rule.Set("appArmorProfile", s.AppArmorProfile != nil), rule.Set("seLinuxOptions", s.SELinuxOptions != nil),
			rule.Set("seccompProfile", s.SeccompProfile != nil), rule.Set("fsGroup", s.FSGroup != nil),
			rule.Set("fsGroupChangePolicy", s.FSGroupChangePolicy != nil), rule.Set("sysctls", len(s.Sysctls) > 0),
			rule.Set("runAsUser", s.RunAsUser != nil), rule.Set("runAsGroup", s.RunAsGroup != nil),
			rule.Set("supplementalGroups", s.SupplementalGroups != nil), rule.Set("supplementalGroupsPolicy", s.SupplementalGroupsPolicy != nil),
			rule.Set("seLinuxChangePolicy", s.SELinuxChangePolicy != nil))...)
	}
	return append(errs, eachSecurity(spec, path, func(s *corev1.SecurityContext, at *field.Path) field.ErrorList {
		return rule.Forbid(at, why,
			rule.Set("appArmorProfile", s.AppArmorProfile != nil), rule.Set("seLinuxOptions", s.SELinuxOptions != nil),
			rule.Set("seccompProfile", s.SeccompProfile != nil), rule.Set("capabilities", s.Capabilities != nil),
			rule.Set("readOnlyRootFilesystem", s.ReadOnlyRootFilesystem != nil), rule.Set("privileged", s.Privileged != nil),
			rule.Set("allowPrivilegeEscalation", s.AllowPrivilegeEscalation != nil), rule.Set("procMount", s.ProcMount != nil),
			rule.Set("runAsUser", s.RunAsUser != nil), rule.Set("runAsGroup", s.RunAsGroup != nil))
	})...)
}

// eachSecurity applies a rule to the security context of every container.
func eachSecurity(spec *corev1.PodSpec, path *field.Path, check func(*corev1.SecurityContext, *field.Path) field.ErrorList) field.ErrorList {
	of := func(s *corev1.SecurityContext, at *field.Path) field.ErrorList {
		if s == nil {
			return nil
		}
		return check(s, at.Child("securityContext"))
	}
	each := func(c *corev1.Container, at *field.Path) field.ErrorList { return of(c.SecurityContext, at) }
	return rule.Join(
		rule.Each(spec.InitContainers, path.Child("initContainers"), each),
		rule.Each(spec.Containers, path.Child("containers"), each),
		rule.Each(spec.EphemeralContainers, path.Child("ephemeralContainers"), func(c *corev1.EphemeralContainer, at *field.Path) field.ErrorList {
			return of(c.SecurityContext, at)
		}))
}

const (
	longestCredentialSpec = 64 * 1024
	longestDomain         = 255
	longestUser           = 104
	domainForms           = `^[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}$|^[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`
)

func validateWindowsOptions(w *corev1.WindowsSecurityContextOptions, at *field.Path) field.ErrorList {
	if w == nil {
		return nil
	}
	return rule.Join(
		rule.Optional(w.GMSACredentialSpecName, at.Child("gmsaCredentialSpecName"), subdomain),
		rule.Optional(w.GMSACredentialSpec, at.Child("gmsaCredentialSpec"), func(spec string, at *field.Path) field.ErrorList {
			switch {
			case spec == "":
				return field.ErrorList{field.Invalid(at, spec, "gmsaCredentialSpec cannot be an empty string")}
			case len(spec) > longestCredentialSpec:
				return field.ErrorList{field.Invalid(at, spec, "gmsaCredentialSpec size must be under 64 KiB")}
			}
			return nil
		}),
		rule.Optional(w.RunAsUserName, at.Child("runAsUserName"), validateWindowsUser),
	)
}

// validateWindowsUser says that a string must be USER or DOMAIN\USER.
func validateWindowsUser(name string, at *field.Path) field.ErrorList {
	wrong := func(why string) field.ErrorList { return field.ErrorList{field.Invalid(at, name, why)} }
	domain, user, hasDomain := strings.Cut(name, `\`)
	if !hasDomain {
		domain, user = "", name
	}
	switch {
	case name == "":
		return wrong("runAsUserName cannot be an empty string")
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return wrong("runAsUserName cannot contain control characters")
	case strings.Contains(user, `\`):
		return wrong("runAsUserName cannot contain more than one backslash")
	}
	var errs field.ErrorList
	for _, broken := range []struct {
		is  bool
		why string
	}{
		{len(domain) > longestDomain, fmt.Sprintf("runAsUserName's Domain length must be under %d characters", longestDomain+1)},
		{hasDomain && !regexp.MustCompile(domainForms).MatchString(domain), "runAsUserName's Domain doesn't match the NetBios nor the DNS format"},
		{user == "", "runAsUserName's User cannot be empty"},
		{len(user) > longestUser, fmt.Sprintf("runAsUserName's User length must not be longer than %d characters", longestUser)},
		{user != "" && strings.Trim(user, ". ") == "", "runAsUserName's User cannot contain only periods or spaces"},
		{strings.ContainsAny(user, `"/\:;|=,+*?<>@[]`), `runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]`},
	} {
		if broken.is {
			errs = append(errs, wrong(broken.why)...)
		}
	}
	return errs
}

// validateHostProcess: Windows containers run as processes of the host either
// all or not at all, and then in the host's network.
func validateHostProcess(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	var pod *bool
	if s := spec.SecurityContext; s != nil && s.WindowsOptions != nil {
		pod = s.WindowsOptions.HostProcess
	}
	all, onHost := len(spec.InitContainers)+len(spec.Containers)+len(spec.EphemeralContainers), 0
	if deref(pod) {
		onHost = all
	}
	errs := eachSecurity(spec, path, func(s *corev1.SecurityContext, at *field.Path) field.ErrorList {
		if s.WindowsOptions == nil || s.WindowsOptions.HostProcess == nil {
			return nil
		}
		own := *s.WindowsOptions.HostProcess
		switch {
		case pod != nil && *pod != own:
			if *pod {
				onHost--
			} else {
				onHost++
			}
			return field.ErrorList{field.Invalid(at.Child("windowsOptions", "hostProcess"), own,
				fmt.Sprintf("pod hostProcess value must be identical if both are specified, was %v", *pod))}
		case own && pod == nil:
			onHost++
		}
		return nil
	})
	if onHost > 0 && onHost != all {
		errs = append(errs, field.Invalid(path, "", "If pod contains any hostProcess containers then all containers must be HostProcess containers"))
	}
	if onHost > 0 && !spec.HostNetwork {
		errs = append(errs, field.Invalid(path.Child("hostNetwork"), false, "hostNetwork must be true if pod contains any hostProcess containers"))
	}
	return errs
}
