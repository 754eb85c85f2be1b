package extender

import (
	"fmt"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"navarch.dev/navarch/internal/kinds/podspec"
)

// Validate returns what is wrong with the extenders of a configuration.
func Validate(path *field.Path, configs []configv1.Extender) field.ErrorList {
	var errs field.ErrorList
	binders := 0
	managed := make(map[string]bool)
	for i := range configs {
		c, at := &configs[i], path.Index(i)
		if u, err := url.Parse(c.URLPrefix); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			errs = append(errs, field.Invalid(at.Child("urlPrefix"), c.URLPrefix, "must be an http or https URL"))
		}
		if c.PrioritizeVerb != "" && c.Weight <= 0 {
			errs = append(errs, field.Invalid(at.Child("weight"), c.Weight, "must have a positive weight applied to it"))
		}
		if c.HTTPTimeout.Duration < 0 {
			errs = append(errs, field.Invalid(at.Child("httpTimeout"), c.HTTPTimeout.Duration.String(), "must not be negative"))
		}
		if c.BindVerb != "" {
			binders++
		}
		for k, r := range c.ManagedResources {
			name := at.Child("managedResources").Index(k).Child("name")
			errs = append(errs, validateResource(name, r.Name)...)
			if managed[r.Name] {
				errs = append(errs, field.Duplicate(name, r.Name))
			}
			managed[r.Name] = true
		}
	}
	if binders > 1 {
		errs = append(errs, field.Invalid(path, fmt.Sprintf("found %d extenders implementing bind", binders), "only one extender can implement bind"))
	}
	return errs
}

// validateResource demands the name of an extended resource.
func validateResource(path *field.Path, name string) field.ErrorList {
	var errs field.ErrorList
	for _, why := range validation.IsQualifiedName(name) {
		errs = append(errs, field.Invalid(path, name, why))
	}
	if len(errs) == 0 && !podspec.IsExtended(corev1.ResourceName(name)) {
		errs = append(errs, field.Invalid(path, name, "must be the name of an extended resource, as example.com/gpu"))
	}
	return errs
}
