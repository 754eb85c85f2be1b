package podspec

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

// validateProbes: a probe that restarts containers succeeds at the first
// success, and only such a probe has a grace period of its own.
func validateProbes(c *corev1.Container, at *field.Path) field.ErrorList {
	errs := validateProbe(c.LivenessProbe, true, at.Child("livenessProbe"))
	errs = append(errs, validateProbe(c.ReadinessProbe, false, at.Child("readinessProbe"))...)
	if p := c.ReadinessProbe; p != nil && p.TerminationGracePeriodSeconds != nil {
		errs = append(errs, field.Invalid(at.Child("readinessProbe", "terminationGracePeriodSeconds"), *p.TerminationGracePeriodSeconds, "must not be set for readinessProbes"))
	}
	return append(errs, validateProbe(c.StartupProbe, true, at.Child("startupProbe"))...)
}

func validateProbe(p *corev1.Probe, restarts bool, at *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	errs := rule.Join(
		handler{exec: p.Exec, http: p.HTTPGet, tcp: p.TCPSocket, grpc: p.GRPC}.validate(at),
		rule.NonNegative(&p.InitialDelaySeconds, at.Child("initialDelaySeconds")),
		rule.NonNegative(&p.TimeoutSeconds, at.Child("timeoutSeconds")),
		rule.NonNegative(&p.PeriodSeconds, at.Child("periodSeconds")),
		rule.NonNegative(&p.SuccessThreshold, at.Child("successThreshold")),
		rule.NonNegative(&p.FailureThreshold, at.Child("failureThreshold")),
		rule.Positive(p.TerminationGracePeriodSeconds, at.Child("terminationGracePeriodSeconds")),
	)
	if restarts && p.SuccessThreshold != 1 {
		errs = append(errs, field.Invalid(at.Child("successThreshold"), p.SuccessThreshold, "must be 1"))
	}
	return errs
}

func validateLifecycle(l *corev1.Lifecycle, spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	if l == nil {
		return nil
	}
	grace := spec.TerminationGracePeriodSeconds
	return rule.Join(
		validateHook(l.PostStart, grace, at.Child("postStart")),
		validateHook(l.PreStop, grace, at.Child("preStop")),
		validateStopSignal(l.StopSignal, spec.OS, at.Child("stopSignal")),
	)
}

func validateHook(h *corev1.LifecycleHandler, grace *int64, at *field.Path) field.ErrorList {
	if h == nil {
		return nil
	}
	return handler{exec: h.Exec, http: h.HTTPGet, tcp: h.TCPSocket, sleep: h.Sleep, grace: grace}.validate(at)
}

// validateStopSignal: which signals there are depends on the system that the
// pod says it is for.
func validateStopSignal(s *corev1.Signal, os *corev1.PodOS, at *field.Path) field.ErrorList {
	switch {
	case s == nil:
		return nil
	case os == nil || os.Name == "":
		return field.ErrorList{field.Forbidden(at, "may not be set for containers with empty `spec.os.name`")}
	case os.Name == corev1.Windows:
		return rule.Supported(*s, at, corev1.SIGKILL, corev1.SIGTERM)
	case !strings.HasPrefix(string(*s), "SIG") || len(*s) < len("SIGIO"):
		return field.ErrorList{field.Invalid(at, *s, "must be the name of a signal")}
	}
	return nil
}

// handler is what a probe or a lifecycle hook does: exactly one of these.
type handler struct {
	exec  *corev1.ExecAction
	http  *corev1.HTTPGetAction
	tcp   *corev1.TCPSocketAction
	grpc  *corev1.GRPCAction
	sleep *corev1.SleepAction
	// grace is the time that the pod has to end, within which a sleep has to.
	grace *int64
}

func (h handler) validate(at *field.Path) field.ErrorList {
	var set []string
	for _, action := range []rule.Flag{
		rule.Set("exec", h.exec != nil), rule.Set("httpGet", h.http != nil), rule.Set("tcpSocket", h.tcp != nil),
		rule.Set("grpc", h.grpc != nil), rule.Set("sleep", h.sleep != nil),
	} {
		if action.Set {
			set = append(set, action.Field)
		}
	}
	return rule.OneMember(set, at, "must specify a handler type", "may not specify more than 1 handler type", h.action)
}

func (h handler) action(name string, at *field.Path) field.ErrorList {
	switch name {
	case "exec":
		if len(h.exec.Command) == 0 {
			return rule.Needs(at, "command", "")
		}
	case "httpGet":
		return validateHTTPGet(h.http, at)
	case "tcpSocket":
		return ValidatePortOrName(h.tcp.Port, at.Child("port"))
	case "grpc":
		return ValidatePortOrName(intstr.FromInt32(h.grpc.Port), at.Child("port"))
	case "sleep":
		if s := h.sleep.Seconds; h.grace != nil && (s < 0 || s > *h.grace) {
			return field.ErrorList{field.Invalid(at, s, fmt.Sprintf("must be non-negative and less than terminationGracePeriodSeconds (%d)", *h.grace))}
		}
	}
	return nil
}

func validateHTTPGet(get *corev1.HTTPGetAction, at *field.Path) field.ErrorList {
	errs := rule.Join(
		rule.Needs(at, "path", get.Path),
		ValidatePortOrName(get.Port, at.Child("port")),
		rule.Supported(get.Scheme, at.Child("scheme"), corev1.URISchemeHTTP, corev1.URISchemeHTTPS),
	)
	for _, h := range get.HTTPHeaders {
		errs = append(errs, rule.Form(h.Name, at.Child("httpHeaders"), validation.IsHTTPHeaderName)...)
	}
	return errs
}

// ValidatePortOrName returns what is wrong with a port that is given by its
// number or its name.
func ValidatePortOrName(port intstr.IntOrString, at *field.Path) field.ErrorList {
	if port.Type == intstr.String {
		return rule.Form(port.StrVal, at, validation.IsValidPortName)
	}
	return rule.Invalids(at, port.IntValue(), validation.IsValidPortNum(port.IntValue()))
}
