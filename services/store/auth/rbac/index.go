package rbac

import (
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"navarch.dev/navarch/internal/identity"
)

// grant is what one binding gives to one of its subjects.
type grant struct {
	rules []rbacv1.PolicyRule
	// reason names the binding and the role, for administrators.
	reason string
}

// subject is a user or a group.
type subject struct {
	group bool
	name  string
}

// index finds what a caller has been granted without looking at anybody
// else's grants. It is immutable.
type index struct {
	// cluster holds the grants of ClusterRoleBindings, namespaced those of
	// RoleBindings by namespace.
	cluster    map[subject][]*grant
	namespaced map[string]map[subject][]*grant
	roles      roleSet
}

// policy is everything that the index is made from.
type policy struct {
	roles           []*rbacv1.Role
	clusterRoles    []*rbacv1.ClusterRole
	bindings        []*rbacv1.RoleBinding
	clusterBindings []*rbacv1.ClusterRoleBinding
}

func newIndex(p policy) *index {
	ix := &index{
		cluster:    map[subject][]*grant{},
		namespaced: map[string]map[subject][]*grant{},
		roles:      newRoleSet(p),
	}
	for _, b := range p.clusterBindings {
		ix.bind(ix.cluster, "", b.RoleRef, b.Subjects, fmt.Sprintf("ClusterRoleBinding %q", b.Name))
	}
	for _, b := range p.bindings {
		in := ix.namespaced[b.Namespace]
		if in == nil {
			in = map[subject][]*grant{}
			ix.namespaced[b.Namespace] = in
		}
		ix.bind(in, b.Namespace, b.RoleRef, b.Subjects, fmt.Sprintf("RoleBinding %q", b.Namespace+"/"+b.Name))
	}
	return ix
}

func (ix *index) bind(in map[subject][]*grant, namespace string, ref rbacv1.RoleRef, subjects []rbacv1.Subject, binding string) {
	rules, ok := ix.roles.rules(namespace, ref)
	if !ok {
		return
	}
	for _, s := range subjects {
		key, ok := subjectOf(s, namespace)
		if !ok {
			continue
		}
		in[key] = append(in[key], &grant{
			rules:  rules,
			reason: fmt.Sprintf("RBAC: allowed by %s of %s %q to %s %q", binding, ref.Kind, ref.Name, s.Kind, s.Name),
		})
	}
}

func subjectOf(s rbacv1.Subject, bindingNamespace string) (subject, bool) {
	switch s.Kind {
	case rbacv1.UserKind:
		return subject{name: s.Name}, true
	case rbacv1.GroupKind:
		return subject{group: true, name: s.Name}, true
	case rbacv1.ServiceAccountKind:
		namespace := s.Namespace
		if namespace == "" {
			namespace = bindingNamespace
		}
		return subject{name: ServiceAccountUser(namespace, s.Name)}, namespace != ""
	}
	return subject{}, false
}

// ServiceAccountUser returns the user name of a service account.
func ServiceAccountUser(namespace, name string) string {
	return "system:serviceaccount:" + namespace + ":" + name
}

// visit calls f with each grant that a caller has in a namespace ("" is the
// cluster scope), until f returns false.
func (ix *index) visit(user identity.Identity, namespace string, f func(*grant) bool) {
	keys := make([]subject, 0, len(user.Groups)+1)
	keys = append(keys, subject{name: user.Name})
	for _, group := range user.Groups {
		keys = append(keys, subject{group: true, name: group})
	}
	scopes := []map[subject][]*grant{ix.cluster}
	if in := ix.namespaced[namespace]; namespace != "" && in != nil {
		scopes = append(scopes, in)
	}
	for _, scope := range scopes {
		for _, key := range keys {
			for _, g := range scope[key] {
				if !f(g) {
					return
				}
			}
		}
	}
}

// roleSet finds the rules of roles.
type roleSet struct {
	roles        map[string][]rbacv1.PolicyRule
	clusterRoles map[string][]rbacv1.PolicyRule
}

func newRoleSet(p policy) roleSet {
	s := roleSet{roles: map[string][]rbacv1.PolicyRule{}, clusterRoles: map[string][]rbacv1.PolicyRule{}}
	for _, r := range p.roles {
		s.roles[r.Namespace+"/"+r.Name] = r.Rules
	}
	for _, r := range p.clusterRoles {
		s.clusterRoles[r.Name] = Aggregate(r, p.clusterRoles)
	}
	return s
}

// rules returns the rules of the role that a binding in a namespace refers to.
func (s roleSet) rules(namespace string, ref rbacv1.RoleRef) ([]rbacv1.PolicyRule, bool) {
	if ref.Kind == "ClusterRole" {
		rules, ok := s.clusterRoles[ref.Name]
		return rules, ok
	}
	rules, ok := s.roles[namespace+"/"+ref.Name]
	return rules, ok
}

// Aggregate returns a role's rules: its own or, for a role that aggregates
// others, those of every role that it selects.
func Aggregate(role *rbacv1.ClusterRole, all []*rbacv1.ClusterRole) []rbacv1.PolicyRule {
	if role.AggregationRule == nil {
		return role.Rules
	}
	return collect(role, all, map[string]bool{})
}

func collect(role *rbacv1.ClusterRole, all []*rbacv1.ClusterRole, seen map[string]bool) []rbacv1.PolicyRule {
	if seen[role.Name] {
		return nil
	}
	seen[role.Name] = true
	if role.AggregationRule == nil {
		return role.Rules
	}
	var rules []rbacv1.PolicyRule
	for _, other := range all {
		if selects(role.AggregationRule, other) {
			rules = append(rules, collect(other, all, seen)...)
		}
	}
	return rules
}

func selects(rule *rbacv1.AggregationRule, role *rbacv1.ClusterRole) bool {
	for i := range rule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&rule.ClusterRoleSelectors[i])
		if err == nil && selector.Matches(labels.Set(role.Labels)) {
			return true
		}
	}
	return false
}
