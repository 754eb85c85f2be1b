package podspec

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateProbes(c *corev1.Container, path *field.Path) field.ErrorList {
	errs := validateProbe(c.LivenessProbe, true, path.Child("livenessProbe"))
	errs = append(errs, validateProbe(c.ReadinessProbe, false, path.Child("readinessProbe"))...)
	errs = append(errs, validateProbe(c.StartupProbe, true, path.Child("startupProbe"))...)
	if p := c.ReadinessProbe; p != nil && p.TerminationGracePeriodSeconds != nil {
		errs = append(errs, field.Invalid(path.Child("readinessProbe", "terminationGracePeriodSeconds"), *p.TerminationGracePeriodSeconds, "must not be set for readinessProbes"))
	}
	if c.Lifecycle == nil {
		return errs
	}
	errs = append(errs, validateHook(c.Lifecycle.PostStart, path.Child("lifecycle", "postStart"))...)
	return append(errs, validateHook(c.Lifecycle.PreStop, path.Child("lifecycle", "preStop"))...)
}

// validateProbe: a probe that restarts containers succeeds at the first
// success.
func validateProbe(p *corev1.Probe, restarts bool, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	h := handler{exec: p.Exec, http: p.HTTPGet, tcp: p.TCPSocket, grpc: p.GRPC}
	errs := h.validate(path)
	checks := map[string]int32{
		"initialDelaySeconds": p.InitialDelaySeconds, "timeoutSeconds": p.TimeoutSeconds, "periodSeconds": p.PeriodSeconds,
		"successThreshold": p.SuccessThreshold, "failureThreshold": p.FailureThreshold,
	}
	for _, name := range sortedKeys(checks) {
		value := checks[name]
		errs = append(errs, apivalidation.ValidateNonnegativeField(int64(value), path.Child(name))...)
	}
	if restarts && p.SuccessThreshold != 1 {
		errs = append(errs, field.Invalid(path.Child("successThreshold"), p.SuccessThreshold, "must be 1"))
	}
	if s := p.TerminationGracePeriodSeconds; s != nil && *s <= 0 {
		errs = append(errs, field.Invalid(path.Child("terminationGracePeriodSeconds"), *s, "must be greater than 0"))
	}
	return errs
}

func validateHook(h *corev1.LifecycleHandler, path *field.Path) field.ErrorList {
	if h == nil {
		return nil
	}
	return handler{exec: h.Exec, http: h.HTTPGet, tcp: h.TCPSocket, sleep: h.Sleep}.validate(path)
}

// handler is what a probe or a lifecycle hook does: exactly one of these.
type handler struct {
	exec  *corev1.ExecAction
	http  *corev1.HTTPGetAction
	tcp   *corev1.TCPSocketAction
	grpc  *corev1.GRPCAction
	sleep *corev1.SleepAction
}

func (h handler) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	handlers := 0
	add := func(at *field.Path, more field.ErrorList) {
		handlers++
		if handlers > 1 {
			more = field.ErrorList{field.Forbidden(at, "may not specify more than 1 handler type")}
		}
		errs = append(errs, more...)
	}
	if h.exec != nil {
		add(path.Child("exec"), validateExec(h.exec, path.Child("exec")))
	}
	if h.http != nil {
		add(path.Child("httpGet"), validateHTTPGet(h.http, path.Child("httpGet")))
	}
	if h.tcp != nil {
		add(path.Child("tcpSocket"), validatePort(h.tcp.Port, path.Child("tcpSocket", "port")))
	}
	if h.grpc != nil {
		add(path.Child("grpc"), validatePort(intstr.FromInt32(h.grpc.Port), path.Child("grpc", "port")))
	}
	if h.sleep != nil {
		add(path.Child("sleep"), validateSleep(h.sleep, path.Child("sleep")))
	}
	if handlers == 0 {
		errs = append(errs, field.Required(path, "must specify a handler type"))
	}
	return errs
}

func validateExec(e *corev1.ExecAction, path *field.Path) field.ErrorList {
	if len(e.Command) == 0 {
		return field.ErrorList{field.Required(path.Child("command"), "")}
	}
	return nil
}

func validateSleep(s *corev1.SleepAction, path *field.Path) field.ErrorList {
	return apivalidation.ValidateNonnegativeField(s.Seconds, path.Child("seconds"))
}

func validateHTTPGet(get *corev1.HTTPGetAction, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if get.Path == "" {
		errs = append(errs, field.Required(path.Child("path"), ""))
	}
	errs = append(errs, validatePort(get.Port, path.Child("port"))...)
	errs = append(errs, oneOf(get.Scheme, path.Child("scheme"), corev1.URISchemeHTTP, corev1.URISchemeHTTPS)...)
	for i, h := range get.HTTPHeaders {
		errs = append(errs, invalids(path.Child("httpHeaders").Index(i).Child("name"), h.Name, validation.IsHTTPHeaderName(h.Name))...)
	}
	return errs
}

func validatePort(port intstr.IntOrString, path *field.Path) field.ErrorList {
	if port.Type == intstr.String {
		return invalids(path, port.StrVal, validation.IsValidPortName(port.StrVal))
	}
	return invalids(path, port.IntValue(), validation.IsValidPortNum(port.IntValue()))
}
