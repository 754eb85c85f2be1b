package kinds

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	registrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"navarch.dev/navarch/internal/kinds/rule"
)

// registrationKinds are the kinds of apiregistration.k8s.io/v1.
func registrationKinds() []*Kind {
	return []*Kind{
		object[registrationv1.APIService, registrationv1.APIServiceList](Kind{
			Group: registrationv1.GroupName, Version: "v1", Resource: "apiservices", Kind: "APIService", Singular: "apiservice",
			Categories: []string{apiExtensions}, Subresources: []string{"status"},
			NameRule: func(name string, _ bool) []string { return content.IsPathSegmentName(name) },
			Columns: columns(
				text("Service", "The reference to the service that hosts this API endpoint.", servedBy),
				text("Available", "Whether this service is available.", availability),
				ageColumn(),
			),
			Strategy: apiServiceStrategy(),
		}),
	}
}

func servedBy(a *registrationv1.APIService) string {
	if a.Spec.Service == nil {
		return "Local"
	}
	return a.Spec.Service.Namespace + "/" + a.Spec.Service.Name
}

func availability(a *registrationv1.APIService) string {
	for _, c := range a.Status.Conditions {
		switch {
		case c.Type != registrationv1.Available:
			continue
		case c.Status == registrationv1.ConditionTrue, c.Reason == "":
			return string(c.Status)
		}
		return fmt.Sprintf("%s (%s)", c.Status, c.Reason)
	}
	return string(registrationv1.ConditionUnknown)
}

func apiServiceStrategy() Strategy {
	return statusOnly(
		func(a *registrationv1.APIService) *registrationv1.APIServiceSpec { return &a.Spec },
		func(a *registrationv1.APIService) *registrationv1.APIServiceStatus { return &a.Status },
		rules[*registrationv1.APIService]{
			create: func(a *registrationv1.APIService) {
				if a.Spec.Service == nil {
					a.Status.Conditions = []registrationv1.APIServiceCondition{LocalAPIService()}
				}
			},
			statusUpdate: func(a, old *registrationv1.APIService) { a.Annotations = old.Annotations },
			defaults: func(a *registrationv1.APIService) {
				if a.Spec.Service != nil {
					setPointer(&a.Spec.Service.Port, 443)
				}
			},
			validate: validateAPIService,
			validateStatus: func(a, _ *registrationv1.APIService) field.ErrorList {
				return rule.Each(a.Status.Conditions, field.NewPath("status", "conditions"), func(c *registrationv1.APIServiceCondition, at *field.Path) field.ErrorList {
					return rule.Supported(c.Status, at.Child("status"), registrationv1.ConditionTrue, registrationv1.ConditionFalse, registrationv1.ConditionUnknown)
				})
			},
		})
}

// The highest priorities of groups and of versions.
const (
	maxGroupPriority   = 20_000
	maxVersionPriority = 1000
)

func validateAPIService(a *registrationv1.APIService) field.ErrorList {
	var errs field.ErrorList
	s := &a.Spec
	if name := s.Version + "." + s.Group; a.Name != name {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), a.Name, fmt.Sprintf("must be `spec.version+\".\"+spec.group`: %q", name)))
	}
	if s.Group == "" && s.Version != "v1" {
		errs = append(errs, field.Required(specPath("group"), "only v1 may have an empty group and it better be legacy kube"))
	}
	if s.Group != "" {
		errs = append(errs, rule.Invalids(specPath("group"), s.Group, validation.IsDNS1123Subdomain(s.Group))...)
	}
	errs = append(errs, rule.Invalids(specPath("version"), s.Version, validation.IsDNS1035Label(s.Version))...)
	if p := s.GroupPriorityMinimum; p <= 0 || p > maxGroupPriority {
		errs = append(errs, field.Invalid(specPath("groupPriorityMinimum"), p, "must be positive and less than 20000"))
	}
	if p := s.VersionPriority; p <= 0 || p > maxVersionPriority {
		errs = append(errs, field.Invalid(specPath("versionPriority"), p, "must be positive and less than 1000"))
	}
	return append(errs, validateAPIServiceTarget(s)...)
}

// validateAPIServiceTarget checks where an API is served: here, or by a Service.
func validateAPIServiceTarget(s *registrationv1.APIServiceSpec) field.ErrorList {
	var errs field.ErrorList
	if s.Service == nil {
		if len(s.CABundle) > 0 {
			errs = append(errs, field.Invalid(specPath("caBundle"), fmt.Sprintf("%d bytes", len(s.CABundle)), "local APIServices may not have a caBundle"))
		}
		if s.InsecureSkipTLSVerify {
			errs = append(errs, field.Invalid(specPath("insecureSkipTLSVerify"), true, "local APIServices may not have insecureSkipTLSVerify"))
		}
		return errs
	}
	at := specPath("service")
	errs = rule.Join(rule.Required(s.Service.Namespace, at.Child("namespace")), rule.Required(s.Service.Name, at.Child("name")))
	for _, wrong := range validation.IsValidPortNum(int(deref(s.Service.Port))) {
		errs = append(errs, field.Invalid(at.Child("port"), deref(s.Service.Port), "port is not valid: "+wrong))
	}
	if s.InsecureSkipTLSVerify && len(s.CABundle) > 0 {
		errs = append(errs, field.Invalid(specPath("insecureSkipTLSVerify"), true, "may not be true if caBundle is present"))
	}
	return errs
}
