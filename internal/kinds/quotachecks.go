package kinds

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/podspec"
	"navarch.dev/navarch/internal/kinds/rule"
)

func validateQuota(q *corev1.ResourceQuota) field.ErrorList {
	s := &q.Spec
	return rule.Join(
		validateQuotaAmounts(s.Hard, specPath("hard")),
		validateScopes(s, specPath("scopes")),
		validateScopeSelector(s, specPath("scopeSelector", "matchExpressions")),
	)
}

func validateQuotaAmounts(amounts corev1.ResourceList, at *field.Path) field.ErrorList {
	return rule.EachKey(amounts, at, func(name corev1.ResourceName, q resource.Quantity, at *field.Path) field.ErrorList {
		return rule.Join(podspec.ValidateQuotaResource(name, at), podspec.ValidateQuantity(name, q, at))
	})
}

// validateQuotaUpdate: what a quota counts does not change under what it has
// counted.
func validateQuotaUpdate(q, old *corev1.ResourceQuota) field.ErrorList {
	sorted := func(scopes []corev1.ResourceQuotaScope) []corev1.ResourceQuotaScope {
		return slices.Compact(slices.Sorted(slices.Values(scopes)))
	}
	if slices.Equal(sorted(q.Spec.Scopes), sorted(old.Spec.Scopes)) {
		return nil
	}
	return field.ErrorList{field.Invalid(specPath("scopes"), q.Spec.Scopes, "field is immutable")}
}

func validateQuotaStatus(q, _ *corev1.ResourceQuota) field.ErrorList {
	at := field.NewPath("status")
	return rule.Join(validateQuotaAmounts(q.Status.Hard, at.Child("hard")), validateQuotaAmounts(q.Status.Used, at.Child("used")))
}

func validateScopes(s *corev1.ResourceQuotaSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	wrong := func(why string) { errs = append(errs, field.Invalid(at, s.Scopes, why)) }
	for _, scope := range s.Scopes {
		if !isScope(scope) {
			wrong("unsupported scope")
		}
		for range countedOutside(scope, s.Hard) {
			wrong("unsupported scope applied to resource")
		}
	}
	for range conflicts(s.Scopes) {
		wrong("conflicting scopes")
	}
	return errs
}

func validateScopeSelector(s *corev1.ResourceQuotaSpec, at *field.Path) field.ErrorList {
	if s.ScopeSelector == nil {
		return nil
	}
	var errs field.ErrorList
	var scopes []corev1.ResourceQuotaScope
	for _, r := range s.ScopeSelector.MatchExpressions {
		scopes = append(scopes, r.ScopeName)
		if !isScope(r.ScopeName) {
			errs = append(errs, field.Invalid(at.Child("scopeName"), r.ScopeName, "unsupported scope"))
		}
		for range countedOutside(r.ScopeName, s.Hard) {
			errs = append(errs, field.Invalid(at, s.ScopeSelector, "unsupported scope applied to resource"))
		}
		errs = append(errs, validateScopeRequirement(r, at)...)
	}
	for range conflicts(scopes) {
		errs = append(errs, field.Invalid(specPath("scopeSelector", "matchExpressions"), s.Scopes, "conflicting scopes"))
	}
	return errs
}

func validateScopeRequirement(r corev1.ScopedResourceSelectorRequirement, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	valued := r.ScopeName == corev1.ResourceQuotaScopePriorityClass || r.ScopeName == corev1.ResourceQuotaScopeVolumeAttributesClass
	if isScope(r.ScopeName) && !valued && r.Operator != corev1.ScopeSelectorOpExists {
		errs = append(errs, field.Invalid(at.Child("operator"), r.Operator, "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, "+
			"ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"))
	}
	switch r.Operator {
	case corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn:
		if len(r.Values) == 0 {
			errs = append(errs, field.Required(at.Child("values"), "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"))
		}
	case corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			errs = append(errs, field.Invalid(at.Child("values"), r.Values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"))
		}
	default:
		errs = append(errs, field.Invalid(at.Child("operator"), r.Operator, "not a valid selector operator"))
	}
	return errs
}

func isScope(scope corev1.ResourceQuotaScope) bool {
	return slices.Contains([]corev1.ResourceQuotaScope{
		corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort,
		corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity, corev1.ResourceQuotaScopeVolumeAttributesClass,
	}, scope)
}

// countedOutside are the limited resources that objects of a scope do not use.
func countedOutside(scope corev1.ResourceQuotaScope, hard corev1.ResourceList) []corev1.ResourceName {
	var out []corev1.ResourceName
	for _, name := range slices.Sorted(maps.Keys(hard)) {
		if podspec.IsQuotaResource(name) && !inScope(scope, name) {
			out = append(out, name)
		}
	}
	return out
}

func inScope(scope corev1.ResourceQuotaScope, name corev1.ResourceName) bool {
	switch scope {
	case corev1.ResourceQuotaScopeBestEffort:
		return name == corev1.ResourcePods
	case corev1.ResourceQuotaScopeVolumeAttributesClass:
		return name == corev1.ResourcePersistentVolumeClaims || name == corev1.ResourceRequestsStorage
	case corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeNotBestEffort,
		corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return slices.Contains([]corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage,
			corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsEphemeralStorage,
			corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage, corev1.ResourcePods}, name)
	}
	return true
}

// conflicts are the pairs of scopes that nothing is in.
func conflicts(scopes []corev1.ResourceQuotaScope) [][2]corev1.ResourceQuotaScope {
	var out [][2]corev1.ResourceQuotaScope
	for _, pair := range [][2]corev1.ResourceQuotaScope{
		{corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort},
		{corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating},
	} {
		if slices.Contains(scopes, pair[0]) && slices.Contains(scopes, pair[1]) {
			out = append(out, pair)
		}
	}
	return out
}

func validateLimitRange(l *corev1.LimitRange) field.ErrorList {
	types := rule.Seen[corev1.LimitType]{}
	return rule.Each(l.Spec.Limits, specPath("limits"), func(item *corev1.LimitRangeItem, at *field.Path) field.ErrorList {
		return rule.Join(validateLimitType(item.Type, at.Child("type")), types.Once(item.Type, at.Child("type")), validateLimits(item, at))
	})
}

func validateLimitType(t corev1.LimitType, at *field.Path) field.ErrorList {
	if errs := rule.Qualified(t, at); len(errs) > 0 {
		return errs
	}
	known := t == corev1.LimitTypePod || t == corev1.LimitTypeContainer || t == corev1.LimitTypePersistentVolumeClaim
	if known || strings.Contains(string(t), "/") {
		return nil
	}
	return field.ErrorList{field.Invalid(at, t, "must be a standard limit type or fully qualified")}
}

func validateLimits(item *corev1.LimitRangeItem, at *field.Path) field.ErrorList {
	name := podspec.ValidateResourceName
	if item.Type == corev1.LimitTypePod || item.Type == corev1.LimitTypeContainer {
		name = podspec.ValidateContainerResource
	}
	lists := []struct {
		field  string
		values corev1.ResourceList
	}{{"max", item.Max}, {"min", item.Min}, {"default", item.Default}, {"defaultRequest", item.DefaultRequest}, {"maxLimitRequestRatio", item.MaxLimitRequestRatio}}
	var errs field.ErrorList
	names := corev1.ResourceList{}
	for _, list := range lists {
		if item.Type == corev1.LimitTypePod && strings.HasPrefix(list.field, "default") {
			errs = append(errs, rule.Forbid(at, "may not be specified when `type` is 'Pod'", rule.Set(list.field, len(list.values) > 0))...)
			continue
		}
		errs = append(errs, rule.EachKey(list.values, at.Child(list.field), func(of corev1.ResourceName, _ resource.Quantity, at *field.Path) field.ErrorList {
			names[of] = resource.Quantity{}
			return name(of, at)
		})...)
	}
	_, least := item.Min[corev1.ResourceStorage]
	_, most := item.Max[corev1.ResourceStorage]
	if item.Type == corev1.LimitTypePersistentVolumeClaim && !least && !most {
		errs = append(errs, field.Required(at.Child("limits"), "either minimum or maximum storage value is required, but neither was provided"))
	}
	for _, of := range slices.Sorted(maps.Keys(names)) {
		errs = append(errs, validateLimitOrder(of, item, at)...)
	}
	return errs
}

// validateLimitOrder: the numbers about one resource must be in order.
func validateLimitOrder(of corev1.ResourceName, item *corev1.LimitRangeItem, at *field.Path) field.ErrorList {
	type amount struct {
		q   resource.Quantity
		set bool
	}
	get := func(list corev1.ResourceList) amount {
		q, ok := list[of]
		return amount{q, ok}
	}
	least, most, limit, request, ratio := get(item.Min), get(item.Max), get(item.Default), get(item.DefaultRequest), get(item.MaxLimitRequestRatio)
	if item.Type == corev1.LimitTypePod {
		limit, request = amount{}, amount{}
	}
	var errs field.ErrorList
	for _, pair := range []struct {
		low, high         amount
		field             string
		shown             amount
		lowName, highName string
	}{
		{least, most, "min", least, "min", "max"},
		{least, request, "defaultRequest", request, "min", "default request"},
		{request, most, "defaultRequest", request, "default request", "max"},
		{request, limit, "defaultRequest", request, "default request", "default limit"},
		{least, limit, "default", least, "min", "default"},
		{limit, most, "default", most, "default", "max"},
	} {
		if pair.low.set && pair.high.set && pair.low.q.Cmp(pair.high.q) > 0 {
			errs = append(errs, field.Invalid(at.Child(pair.field).Key(string(of)), pair.shown.q,
				fmt.Sprintf("%s value %s is greater than %s value %s", pair.lowName, pair.low.q.String(), pair.highName, pair.high.q.String())))
		}
	}
	if ratio.set {
		errs = append(errs, validateRatio(of, ratio.q, item, at.Child("maxLimitRequestRatio").Key(string(of)))...)
	}
	if !podspec.Overcommits(of) && limit.set && request.set && limit.q.Cmp(request.q) != 0 {
		errs = append(errs, field.Invalid(at.Child("defaultRequest").Key(string(of)), request.q,
			fmt.Sprintf("default value %s must equal to defaultRequest value %s in %s", limit.q.String(), request.q.String(), of)))
	}
	return errs
}

func validateRatio(of corev1.ResourceName, ratio resource.Quantity, item *corev1.LimitRangeItem, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if ratio.Cmp(resource.MustParse("1")) < 0 {
		errs = append(errs, field.Invalid(at, ratio, fmt.Sprintf("ratio %s is less than 1", ratio.String())))
	}
	least, hasLeast := item.Min[of]
	most, hasMost := item.Max[of]
	if !hasLeast || !hasMost || least.IsZero() {
		return errs
	}
	if possible := most.AsApproximateFloat64() / least.AsApproximateFloat64(); ratio.AsApproximateFloat64() > possible {
		errs = append(errs, field.Invalid(at, ratio, fmt.Sprintf("ratio %s is greater than max/min = %f", ratio.String(), possible)))
	}
	return errs
}
