package rbac

import (
	"context"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/access"
)

// CheckEscalation refuses a write of a role or binding that would give away
// more than the writer has. A writer with the verb escalate on the role, or
// bind on the role that a binding refers to, may do so nevertheless.
func (z *Authorizer) CheckEscalation(ctx context.Context, user identity.Identity, obj, old kinds.Object) error {
	if user.InGroup(identity.GroupMasters) || obj == nil {
		return nil
	}
	switch o := obj.(type) {
	case *rbacv1.Role:
		if was, ok := old.(*rbacv1.Role); ok && equality.Semantic.DeepEqual(o.Rules, was.Rules) {
			return nil
		}
		return z.checkRole(ctx, user, "roles", o.Namespace, o.Name, o.Rules)
	case *rbacv1.ClusterRole:
		was, changed := old.(*rbacv1.ClusterRole)
		if changed && equality.Semantic.DeepEqual(o.Rules, was.Rules) && equality.Semantic.DeepEqual(o.AggregationRule, was.AggregationRule) {
			return nil
		}
		rules := o.Rules
		if o.AggregationRule != nil {
			// What it will select is not known beforehand.
			rules = slices.Concat(rules, everything())
		}
		return z.checkRole(ctx, user, "clusterroles", "", o.Name, rules)
	case *rbacv1.RoleBinding:
		if was, ok := old.(*rbacv1.RoleBinding); ok && equality.Semantic.DeepEqual(o.Subjects, was.Subjects) && o.RoleRef == was.RoleRef {
			return nil
		}
		return z.checkBinding(ctx, user, "rolebindings", o.Namespace, o.Name, o.RoleRef)
	case *rbacv1.ClusterRoleBinding:
		if was, ok := old.(*rbacv1.ClusterRoleBinding); ok && equality.Semantic.DeepEqual(o.Subjects, was.Subjects) && o.RoleRef == was.RoleRef {
			return nil
		}
		return z.checkBinding(ctx, user, "clusterrolebindings", "", o.Name, o.RoleRef)
	}
	return nil
}

func (z *Authorizer) checkRole(ctx context.Context, user identity.Identity, resource, namespace, name string, rules []rbacv1.PolicyRule) error {
	may, err := z.may(ctx, user, "escalate", resource, namespace, name)
	if err != nil || may {
		return err
	}
	return z.checkCovered(ctx, user, resource, namespace, name, rules)
}

func (z *Authorizer) checkBinding(ctx context.Context, user identity.Identity, resource, namespace, name string, ref rbacv1.RoleRef) error {
	roles, in := "roles", namespace
	if ref.Kind == "ClusterRole" {
		roles = "clusterroles"
	}
	may, err := z.may(ctx, user, "bind", roles, in, ref.Name)
	if err != nil || may {
		return err
	}
	rules, found, err := z.rulesOf(ctx, namespace, ref)
	if err != nil {
		return err
	}
	if !found {
		return apierrors.NewNotFound(schema.GroupResource{Group: rbacv1.GroupName, Resource: roles}, ref.Name)
	}
	return z.checkCovered(ctx, user, resource, namespace, name, rules)
}

func (z *Authorizer) may(ctx context.Context, user identity.Identity, verb, resource, namespace, name string) (bool, error) {
	d, err := z.Authorize(ctx, access.Attributes{
		User: user, Verb: verb, Group: rbacv1.GroupName, Version: "v1", Resource: resource, Namespace: namespace, Name: name,
	})
	return d.Allowed, err
}

func (z *Authorizer) checkCovered(ctx context.Context, user identity.Identity, resource, namespace, name string, wanted []rbacv1.PolicyRule) error {
	own, err := z.RulesFor(ctx, user, namespace)
	if err != nil {
		return err
	}
	missing := Uncovered(own, wanted)
	if len(missing) == 0 {
		return nil
	}
	var list []string
	for _, rule := range missing {
		list = append(list, describe(rule))
	}
	slices.Sort(list)
	return apierrors.NewForbidden(schema.GroupResource{Group: rbacv1.GroupName, Resource: resource}, name,
		fmt.Errorf("user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s",
			user.Name, user.Groups, strings.Join(list, "\n")))
}

func describe(r rbacv1.PolicyRule) string {
	if len(r.NonResourceURLs) > 0 {
		return fmt.Sprintf("{NonResourceURLs:%q, Verbs:%q}", r.NonResourceURLs, r.Verbs)
	}
	if len(r.ResourceNames) > 0 {
		return fmt.Sprintf("{APIGroups:%q, Resources:%q, ResourceNames:%q, Verbs:%q}", r.APIGroups, r.Resources, r.ResourceNames, r.Verbs)
	}
	return fmt.Sprintf("{APIGroups:%q, Resources:%q, Verbs:%q}", r.APIGroups, r.Resources, r.Verbs)
}

// Uncovered returns the parts of the wanted rules that the owned ones do not
// allow, one verb, group, resource and name at a time.
func Uncovered(owned, wanted []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	var missing []rbacv1.PolicyRule
	for _, rule := range wanted {
		for part := range parts(rule) {
			if !slices.ContainsFunc(owned, func(o rbacv1.PolicyRule) bool { return covers(&o, &part) }) {
				missing = append(missing, part)
			}
		}
	}
	return missing
}

// parts yields the simple rules that a rule consists of.
func parts(rule rbacv1.PolicyRule) func(yield func(rbacv1.PolicyRule) bool) {
	names := rule.ResourceNames
	if len(names) == 0 {
		names = []string{""}
	}
	return func(yield func(rbacv1.PolicyRule) bool) {
		for _, verb := range rule.Verbs {
			for _, url := range rule.NonResourceURLs {
				if !yield(rbacv1.PolicyRule{Verbs: []string{verb}, NonResourceURLs: []string{url}}) {
					return
				}
			}
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, name := range names {
						part := rbacv1.PolicyRule{Verbs: []string{verb}, APIGroups: []string{group}, Resources: []string{resource}}
						if name != "" {
							part.ResourceNames = []string{name}
						}
						if !yield(part) {
							return
						}
					}
				}
			}
		}
	}
}

// covers says whether an owned rule allows all that a simple rule allows.
func covers(owned, part *rbacv1.PolicyRule) bool {
	if !has(owned.Verbs, part.Verbs[0]) {
		return false
	}
	if len(part.NonResourceURLs) > 0 {
		return slices.ContainsFunc(owned.NonResourceURLs, func(url string) bool { return pathMatches(url, part.NonResourceURLs[0]) })
	}
	resource, subresource, _ := strings.Cut(part.Resources[0], "/")
	return has(owned.APIGroups, part.APIGroups[0]) &&
		resourceMatches(owned.Resources, resource, subresource) &&
		(len(owned.ResourceNames) == 0 || len(part.ResourceNames) > 0 && slices.Contains(owned.ResourceNames, part.ResourceNames[0]))
}
