package podspec

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
	"navarch.dev/navarch/internal/quantities"
)

// resources returns what is wrong with a container's requests and limits.
func (c podCheck) resources(r *corev1.ResourceRequirements, at *field.Path) field.ErrorList {
	return rule.Join(validateAmounts(r, ValidateContainerResource, at), c.claimNames(r.Claims, at.Child("claims")))
}

// validateAmounts: broken amounts, names that are none, requests above their
// limits, and resources that cannot be overcommitted without a limit.
func validateAmounts(r *corev1.ResourceRequirements, name func(corev1.ResourceName, *field.Path) field.ErrorList, at *field.Path) field.ErrorList {
	limits, requests := at.Child("limits"), at.Child("requests")
	amount := func(of corev1.ResourceName, q resource.Quantity, at *field.Path) field.ErrorList {
		return rule.Join(name(of, at), ValidateQuantity(of, q, at), validateHugePages(of, q, at))
	}
	errs := rule.EachKey(r.Limits, limits, amount)
	errs = append(errs, rule.EachKey(r.Requests, requests, func(of corev1.ResourceName, q resource.Quantity, at *field.Path) field.ErrorList {
		errs := amount(of, q, at)
		switch limit, limited := r.Limits[of]; {
		case !limited && !Overcommits(of):
			errs = append(errs, field.Required(limits, "Limit must be set for non overcommitable resources"))
		case limited && !Overcommits(of) && q.Cmp(limit) != 0:
			errs = append(errs, field.Invalid(requests, q.String(), fmt.Sprintf("must be equal to %s limit of %s", of, limit.String())))
		case limited && q.Cmp(limit) > 0:
			errs = append(errs, field.Invalid(requests, q.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", of, limit.String())))
		}
		return errs
	})...)
	huge, computing := false, false
	for _, list := range []corev1.ResourceList{r.Limits, r.Requests} {
		for of := range list {
			huge = huge || isHugePages(of)
			computing = computing || of == corev1.ResourceCPU || of == corev1.ResourceMemory
		}
	}
	if huge && !computing {
		errs = append(errs, field.Forbidden(at, "HugePages require cpu or memory"))
	}
	return errs
}

// claimNames: a container refers to the claims of its pod.
func (c podCheck) claimNames(claims []corev1.ResourceClaim, at *field.Path) field.ErrorList {
	named := make(claimed)
	return rule.Each(claims, at, func(claim *corev1.ResourceClaim, at *field.Path) field.ErrorList {
		if claim.Name == "" {
			return field.ErrorList{field.Required(at, "")}
		}
		errs := named.once(claim, at)
		if c.claims.Has(claim.Name) {
			return errs
		}
		unknown := field.NotFound(at, claim.Name)
		unknown.Detail = "must be one of the names in pod.spec.resourceClaims"
		if names := sortedKeys(c.claims); len(names) > 0 {
			unknown.Detail += ": " + strings.Join(names, ", ")
		} else {
			unknown.Detail += " which is empty"
		}
		return append(errs, unknown)
	})
}

// claimed are the requests that a container has named of each claim; "" is the whole.
type claimed map[string][]string

// once says that a claim is named once, and a request of it too: the whole has each.
func (c claimed) once(claim *corev1.ResourceClaim, at *field.Path) field.ErrorList {
	before, request := c[claim.Name], claim.Request
	if slices.Contains(before, "") {
		return field.ErrorList{field.Duplicate(at, claim.Name)}
	}
	c[claim.Name] = append(before, request)
	switch {
	case request != "":
		errs := rule.Form(request, at.Child("request"), validation.IsDNS1123Label)
		if slices.Contains(before, request) {
			errs = append(errs, field.Duplicate(at, claim.Name+"/"+request))
		}
		return errs
	case len(before) > 0:
		return field.ErrorList{field.Duplicate(at, claim.Name)}
	}
	return nil
}

// ValidateOverhead returns what is wrong with what a pod costs beside its
// containers.
func ValidateOverhead(overhead corev1.ResourceList, at *field.Path) field.ErrorList {
	return validateAmounts(&corev1.ResourceRequirements{Limits: overhead}, ValidateContainerResource, at)
}

// Overcommits says whether nodes may promise more of a resource than they
// have.
func Overcommits(name corev1.ResourceName) bool { return isNative(name) && !isHugePages(name) }

func isHugePages(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// isNative says whether a resource is Kubernetes' own.
func isNative(name corev1.ResourceName) bool {
	return !strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

// IsExtended says whether a resource is one that somebody else provides, such
// as example.com/gpu.
func IsExtended(name corev1.ResourceName) bool {
	if isNative(name) || strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix) {
		return false
	}
	return len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+string(name))) == 0
}

// countedResources are those that there are whole ones of only.
func countedResources() []corev1.ResourceName {
	return []corev1.ResourceName{corev1.ResourcePods, corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers,
		corev1.ResourceSecrets, corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims,
		corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers}
}

// containerResources are those that a container can ask for without naming a
// domain.
func containerResources() []corev1.ResourceName {
	return []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}
}

// quotaResources are those that a quota can limit without naming a domain.
func quotaResources() []corev1.ResourceName {
	return append(append(containerResources(), countedResources()...),
		corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsStorage, corev1.ResourceRequestsEphemeralStorage,
		corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage)
}

// ValidateResourceName returns what is wrong with the name of a resource.
func ValidateResourceName(name corev1.ResourceName, at *field.Path) field.ErrorList {
	if errs := rule.Qualified(name, at); len(errs) > 0 {
		return errs
	}
	known := name == corev1.ResourceStorage || isHugePages(name) || slices.Contains(quotaResources(), name) ||
		strings.HasPrefix(string(name), corev1.ResourceRequestsHugePagesPrefix)
	if known || strings.Contains(string(name), "/") {
		return nil
	}
	return field.ErrorList{field.Invalid(at, name, "must be a standard resource type or fully qualified")}
}

// ValidateContainerResource is ValidateResourceName for what containers may
// ask for.
func ValidateContainerResource(name corev1.ResourceName, at *field.Path) field.ErrorList {
	errs := ValidateResourceName(name, at)
	switch {
	case !strings.Contains(string(name), "/"):
		if !slices.Contains(containerResources(), name) && !isHugePages(name) {
			errs = append(errs, field.Invalid(at, name, "must be a standard resource for containers"))
		}
	case !isNative(name) && !IsExtended(name):
		errs = append(errs, field.Invalid(at, name, "doesn't follow extended resource name standard"))
	}
	return errs
}

// ValidateQuotaResource is ValidateResourceName for what quotas may limit.
func ValidateQuotaResource(name corev1.ResourceName, at *field.Path) field.ErrorList {
	errs := ValidateResourceName(name, at)
	if !strings.Contains(string(name), "/") && !IsQuotaResource(name) {
		errs = append(errs, field.Invalid(at, name, "must be a standard resource for quota"))
	}
	return errs
}

// IsQuotaResource says whether a name without a domain is one that quotas
// know.
func IsQuotaResource(name corev1.ResourceName) bool {
	return slices.Contains(quotaResources(), name) || isHugePages(name) || strings.HasPrefix(string(name), corev1.ResourceRequestsHugePagesPrefix)
}

// ValidateQuantity returns what is wrong with an amount of a resource.
func ValidateQuantity(name corev1.ResourceName, quantity resource.Quantity, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if quantity.Sign() < 0 {
		errs = append(errs, field.Invalid(at, quantity.String(), apivalidation.IsNegativeErrorMsg))
	}
	whole := slices.Contains(countedResources(), name) || IsExtended(name)
	if whole && quantity.MilliValue()%1000 != 0 {
		errs = append(errs, field.Invalid(at, quantity, "must be an integer"))
	}
	return errs
}

// validateHugePages: pages come whole.
func validateHugePages(name corev1.ResourceName, quantity resource.Quantity, at *field.Path) field.ErrorList {
	if !isHugePages(name) {
		return nil
	}
	size, err := quantities.Parse(strings.TrimPrefix(string(name), corev1.ResourceHugePagesPrefix))
	if err == nil && size.Sign() > 0 && quantity.Sign() >= 0 && size.Value() != 0 && quantity.Value()%size.Value() == 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(at, quantity.String(), fmt.Sprintf("%s is not positive integer multiple of %s", quantity.String(), name))}
}

// resizePolicy says how a running container takes a change of its resources.
// What is never restarted cannot be restarted for that either.
func (c podCheck) resizePolicy(policies []corev1.ContainerResizePolicy, at *field.Path) field.ErrorList {
	seen := rule.Seen[corev1.ResourceName]{}
	return rule.Each(policies, at, func(p *corev1.ContainerResizePolicy, item *field.Path) field.ErrorList {
		errs := rule.Join(
			seen.Once(p.ResourceName, item),
			rule.OneOf(p.ResourceName, at, corev1.ResourceCPU, corev1.ResourceMemory),
			rule.OneOf(p.RestartPolicy, at, corev1.NotRequired, corev1.RestartContainer),
		)
		if c.spec.RestartPolicy == corev1.RestartPolicyNever && p.RestartPolicy != corev1.NotRequired {
			errs = append(errs, field.Invalid(at, p.RestartPolicy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'"))
		}
		return errs
	})
}
