package rbac

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/fields"

	"navarch.dev/navarch/services/store/access"
)

// matches says whether a rule allows a call.
func matches(rule *rbacv1.PolicyRule, a *access.Attributes) bool {
	if !has(rule.Verbs, a.Verb) {
		return false
	}
	if a.Path != "" {
		return slices.ContainsFunc(rule.NonResourceURLs, func(url string) bool { return pathMatches(url, a.Path) })
	}
	return has(rule.APIGroups, a.Group) &&
		resourceMatches(rule.Resources, a.Resource, a.Subresource) &&
		(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, a.Name))
}

// has says whether a list of a rule holds a value, or the star that stands for
// all.
func has(list []string, value string) bool {
	return slices.Contains(list, "*") || slices.Contains(list, value)
}

// resourceMatches: a subresource is written "pods/log"; "*/scale" is the scale
// of every resource.
func resourceMatches(list []string, resource, subresource string) bool {
	if subresource == "" {
		return has(list, resource)
	}
	return has(list, resource+"/"+subresource) || slices.Contains(list, "*/"+subresource)
}

// pathMatches: a URL that ends in a star is a prefix.
func pathMatches(url, path string) bool {
	if prefix, ok := strings.CutSuffix(url, "*"); ok {
		return strings.HasPrefix(path, prefix)
	}
	return url == path
}

// withName gives a list or watch of a single object, selected by its name,
// that name, so that rules about names apply to it.
func withName(a access.Attributes) access.Attributes {
	if a.Name != "" || a.FieldSelector == "" {
		return a
	}
	switch a.Verb {
	case "list", "watch", "deletecollection":
	default:
		return a
	}
	selector, err := fields.ParseSelector(a.FieldSelector)
	if err != nil {
		return a
	}
	if name, ok := selector.RequiresExactMatch("metadata.name"); ok {
		a.Name = name
	}
	return a
}

// Allow says whether one of the rules allows a call.
func Allow(rules []rbacv1.PolicyRule, a access.Attributes) bool {
	a = withName(a)
	return slices.ContainsFunc(rules, func(rule rbacv1.PolicyRule) bool { return matches(&rule, &a) })
}
