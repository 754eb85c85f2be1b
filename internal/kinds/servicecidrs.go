package kinds

import (
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

func ipAddressColumns() []Column {
	return columns(
		text("ParentRef", networkingv1.IPAddressSpec{}.SwaggerDoc()["parentRef"], func(a *networkingv1.IPAddress) string {
			ref := a.Spec.ParentRef
			if ref == nil {
				return none
			}
			parts := []string{strings.ToLower(schema.GroupResource{Group: ref.Group, Resource: ref.Resource}.String())}
			if ref.Namespace != "" {
				parts = append(parts, ref.Namespace)
			}
			return strings.Join(append(parts, ref.Name), "/")
		}),
	)
}

// isIPName: an IPAddress is named for its address, in its canonical form.
func isIPName(name string, _ bool) []string {
	var messages []string
	for _, err := range validation.IsValidIP(nil, name) {
		messages = append(messages, err.Detail)
	}
	return messages
}

func ipAddressStrategy() Strategy {
	return plain(rules[*networkingv1.IPAddress]{
		validate: func(a *networkingv1.IPAddress) field.ErrorList {
			ref, path := a.Spec.ParentRef, specPath("parentRef")
			if ref == nil {
				return field.ErrorList{field.Required(path, "")}
			}
			return rule.Join(
				rule.FormIfSet(ref.Group, path.Child("group"), validation.IsDNS1123Subdomain),
				rule.Given(ref.Resource, path.Child("resource"), content.IsPathSegmentName),
				rule.Given(ref.Name, path.Child("name"), content.IsPathSegmentName),
				rule.FormIfSet(ref.Namespace, path.Child("namespace"), content.IsPathSegmentName))
		},
		validateUpdate: func(a, old *networkingv1.IPAddress) field.ErrorList {
			return rule.Frozen(a.Spec.ParentRef, old.Spec.ParentRef, specPath("parentRef"))
		},
	})
}

func serviceCIDRColumns() []Column {
	return columns(
		text("CIDRs", networkingv1.ServiceCIDRSpec{}.SwaggerDoc()["cidrs"], func(s *networkingv1.ServiceCIDR) string { return strings.Join(s.Spec.CIDRs, ",") }),
		ageColumn(),
	)
}

func serviceCIDRStrategy() Strategy {
	return statusOnly(
		func(s *networkingv1.ServiceCIDR) *networkingv1.ServiceCIDRSpec { return &s.Spec },
		func(s *networkingv1.ServiceCIDR) *networkingv1.ServiceCIDRStatus { return &s.Status },
		rules[*networkingv1.ServiceCIDR]{
			validateCreate: func(s *networkingv1.ServiceCIDR) field.ErrorList { return validateServiceCIDRs(&s.Spec) },
			validateUpdate: validateServiceCIDRUpdate,
		})
}

// validateServiceCIDRs: a range of one IP version, or one of each. Ranges of
// different ServiceCIDRs may overlap.
func validateServiceCIDRs(spec *networkingv1.ServiceCIDRSpec) field.ErrorList {
	at, cidrs := specPath("cidrs"), spec.CIDRs
	switch {
	case len(cidrs) == 0:
		return field.ErrorList{field.Required(at, "at least one CIDR required")}
	case len(cidrs) > 2:
		return field.ErrorList{field.Invalid(at, cidrs, "may only hold up to 2 values")}
	}
	errs := rule.Each(cidrs, at, func(cidr *string, at *field.Path) field.ErrorList { return validation.IsValidCIDR(at, *cidr) })
	if len(errs) == 0 && len(cidrs) == 2 && rule.IsIPv6(cidrs[0]) == rule.IsIPv6(cidrs[1]) {
		errs = append(errs, field.Invalid(at, cidrs, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"))
	}
	return errs
}

// validateServiceCIDRUpdate: ranges stay, but one of the other IP version may
// join a single one.
func validateServiceCIDRUpdate(s, old *networkingv1.ServiceCIDR) field.ErrorList {
	at, cidrs, was := specPath("cidrs"), s.Spec.CIDRs, old.Spec.CIDRs
	joins := len(was) == 1 && len(cidrs) == 2
	if len(cidrs) != len(was) && !joins {
		return rule.Immutable(cidrs, was, at)
	}
	var errs field.ErrorList
	for i := range was {
		errs = append(errs, rule.Immutable(cidrs[i], was[i], at.Index(i))...)
	}
	if joins {
		errs = append(errs, validateServiceCIDRs(&s.Spec)...)
	}
	return errs
}
