package devicespec

import (
	"fmt"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/expression"
	"navarch.dev/navarch/internal/kinds/rule"
)

// badReference is said of what refers to a request that is not there.
const badReference = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"

// DefaultClaim fills what a claim leaves out: a request is for one device.
func DefaultClaim(s *resourcev1.ResourceClaimSpec) {
	for i := range s.Devices.Requests {
		request := &s.Devices.Requests[i]
		if exactly := request.Exactly; exactly != nil {
			defaultCount(&exactly.AllocationMode, &exactly.Count)
			defaultTolerations(exactly.Tolerations)
		}
		for j := range request.FirstAvailable {
			sub := &request.FirstAvailable[j]
			defaultCount(&sub.AllocationMode, &sub.Count)
			defaultTolerations(sub.Tolerations)
		}
	}
}

func defaultCount(mode *resourcev1.DeviceAllocationMode, count *int64) {
	if *mode == "" {
		*mode = resourcev1.DeviceAllocationModeExactCount
	}
	if *mode == resourcev1.DeviceAllocationModeExactCount && *count == 0 {
		*count = 1
	}
}

// ValidateClaim returns what is wrong with what a claim asks for.
func ValidateClaim(s *resourcev1.ResourceClaimSpec, at *field.Path) field.ErrorList {
	at = at.Child("devices")
	d, names := &s.Devices, requestNames(s)
	return rule.Join(
		set(d.Requests, resourcev1.DeviceRequestsMaxSize, at.Child("requests"),
			func(r *resourcev1.DeviceRequest) string { return r.Name }, validateRequest),
		list(d.Constraints, resourcev1.DeviceConstraintsMaxSize, at.Child("constraints"), names.validateConstraint),
		list(d.Config, resourcev1.DeviceConfigMaxSize, at.Child("config"), func(c *resourcev1.DeviceClaimConfiguration, at *field.Path) field.ErrorList {
			return rule.Join(names.validateReferences(c.Requests, at.Child("requests")), validateConfiguration(&c.DeviceConfiguration, at))
		}),
	)
}

func validateRequest(r *resourcev1.DeviceRequest, at *field.Path) field.ErrorList {
	errs := label(r.Name, at.Child("name"))
	switch {
	case r.Exactly == nil && len(r.FirstAvailable) == 0:
		return append(errs, field.Required(at, "exactly one of `exactly` or `firstAvailable` is required"))
	case r.Exactly != nil && len(r.FirstAvailable) > 0:
		return append(errs, field.Invalid(at, nil, "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"))
	case r.Exactly != nil:
		e := r.Exactly
		return append(errs, alternative{e.DeviceClassName, e.Selectors, e.AllocationMode, e.Count, e.Tolerations}.validate(at.Child("exactly"))...)
	}
	return append(errs, set(r.FirstAvailable, resourcev1.FirstAvailableDeviceRequestMaxSize, at.Child("firstAvailable"),
		func(s *resourcev1.DeviceSubRequest) string { return s.Name },
		func(s *resourcev1.DeviceSubRequest, at *field.Path) field.ErrorList {
			a := alternative{s.DeviceClassName, s.Selectors, s.AllocationMode, s.Count, s.Tolerations}
			return rule.Join(label(s.Name, at.Child("name")), a.validate(at))
		})...)
}

// alternative is what a request and a subrequest have in common.
type alternative struct {
	class       string
	selectors   []resourcev1.DeviceSelector
	mode        resourcev1.DeviceAllocationMode
	count       int64
	tolerations []resourcev1.DeviceToleration
}

func (a alternative) validate(at *field.Path) field.ErrorList {
	return rule.Join(
		rule.Given(a.class, at.Child("deviceClassName"), validation.IsDNS1123Subdomain),
		ValidateSelectors(a.selectors, at.Child("selectors")),
		a.validateCount(at),
		rule.Each(a.tolerations, at.Child("tolerations"), validateToleration),
	)
}

func (a alternative) validateCount(at *field.Path) field.ErrorList {
	switch count := at.Child("count"); a.mode {
	case resourcev1.DeviceAllocationModeAll:
		if a.count != 0 {
			return field.ErrorList{field.Invalid(count, a.count, fmt.Sprintf("must not be specified when allocationMode is '%s'", a.mode))}
		}
	case resourcev1.DeviceAllocationModeExactCount:
		if a.count <= 0 {
			return field.ErrorList{field.Invalid(count, a.count, "must be greater than zero")}
		}
	default:
		return rule.Supported(a.mode, at.Child("allocationMode"), resourcev1.DeviceAllocationModeAll, resourcev1.DeviceAllocationModeExactCount)
	}
	return nil
}

// ValidateSelectors returns what is wrong with the expressions that select
// devices.
func ValidateSelectors(selectors []resourcev1.DeviceSelector, at *field.Path) field.ErrorList {
	return list(selectors, resourcev1.DeviceSelectorsMaxSize, at, func(s *resourcev1.DeviceSelector, at *field.Path) field.ErrorList {
		if s.CEL == nil {
			return field.ErrorList{field.Required(at.Child("cel"), "")}
		}
		return validateExpression(s.CEL.Expression, at.Child("cel", "expression"))
	})
}

func validateExpression(source string, at *field.Path) field.ErrorList {
	if errs := tooLong(len(source), resourcev1.CELSelectorExpressionMaxLength, at); len(errs) > 0 {
		return errs
	}
	selector, err := expression.CompileDeviceSelector(source)
	switch {
	case err != nil:
		return field.ErrorList{field.Invalid(at, source, err.Error())}
	case selector.Cost() > resourcev1.CELSelectorExpressionMaxCost:
		return field.ErrorList{field.Forbidden(at, "too complex, exceeds cost limit")}
	}
	return nil
}

// ValidateClassConfiguration returns what is wrong with the configuration that a
// class has for its devices.
func ValidateClassConfiguration(config []resourcev1.DeviceClassConfiguration, at *field.Path) field.ErrorList {
	return list(config, resourcev1.DeviceConfigMaxSize, at, func(c *resourcev1.DeviceClassConfiguration, at *field.Path) field.ErrorList {
		return validateConfiguration(&c.DeviceConfiguration, at)
	})
}

func validateConfiguration(c *resourcev1.DeviceConfiguration, at *field.Path) field.ErrorList {
	at = at.Child("opaque")
	if c.Opaque == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	return rule.Join(
		ValidateAnyDriver(c.Opaque.Driver, at.Child("driver")),
		jsonObject(c.Opaque.Parameters.Raw, resourcev1.OpaqueParametersMaxLength, at.Child("parameters")))
}

// names are the requests of a claim, each with its subrequests.
type names map[string]rule.Seen[string]

func requestNames(s *resourcev1.ResourceClaimSpec) names {
	out := names{}
	for i := range s.Devices.Requests {
		request := &s.Devices.Requests[i]
		subs := rule.Seen[string]{}
		for j := range request.FirstAvailable {
			subs[request.FirstAvailable[j].Name] = struct{}{}
		}
		out[request.Name] = subs
	}
	return out
}

// validateReference: what refers to a request names it, and may name one of its
// subrequests after a slash.
func (n names) validateReference(name string, at *field.Path) field.ErrorList {
	request, sub, hasSub := strings.Cut(name, "/")
	if strings.Contains(sub, "/") {
		return field.ErrorList{field.Invalid(at, name, badReference)}
	}
	errs := label(request, at)
	if hasSub {
		errs = append(errs, label(sub, at)...)
	}
	if subs, ok := n[request]; !ok || hasSub && !subs.Has(sub) {
		errs = append(errs, field.Invalid(at, name, badReference))
	}
	return errs
}

func (n names) validateReferences(requests []string, at *field.Path) field.ErrorList {
	return unique(requests, resourcev1.DeviceRequestsMaxSize, at, n.validateReference)
}

func (n names) validateConstraint(c *resourcev1.DeviceConstraint, at *field.Path) field.ErrorList {
	errs := rule.Join(n.validateReferences(c.Requests, at.Child("requests")),
		rule.Optional(c.MatchAttribute, at.Child("matchAttribute"), domainName),
		rule.Optional(c.DistinctAttribute, at.Child("distinctAttribute"), domainName))
	if c.MatchAttribute != nil || c.DistinctAttribute != nil {
		return errs
	}
	return append(errs, field.Required(at, `exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set`))
}
