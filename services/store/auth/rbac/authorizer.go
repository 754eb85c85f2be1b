// Package rbac decides by Roles, ClusterRoles and their bindings.
//
// The rules are kept in an index by subject, made anew when one of the four
// kinds has changed, so that a decision looks only at what was granted to the
// caller and to the groups the caller is in.
package rbac

import (
	"context"
	"fmt"
	"slices"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/access"
)

// Authorizer implements access.Authorizer.
type Authorizer struct {
	reader access.Reader

	mu       sync.Mutex
	versions [4]int64
	index    *index
}

// New returns an Authorizer that reads the rules through reader.
func New(reader access.Reader) *Authorizer { return &Authorizer{reader: reader} }

// resources are the kinds that rules are made of.
func resources() [4]schema.GroupVersionResource {
	gv := rbacv1.SchemeGroupVersion
	return [4]schema.GroupVersionResource{
		gv.WithResource("roles"), gv.WithResource("clusterroles"),
		gv.WithResource("rolebindings"), gv.WithResource("clusterrolebindings"),
	}
}

// Authorize implements access.Authorizer. Members of system:masters may do
// everything, so that a cluster whose rules are broken can be mended.
func (z *Authorizer) Authorize(ctx context.Context, a access.Attributes) (access.Decision, error) {
	if a.User.InGroup(identity.GroupMasters) {
		return access.Decision{Allowed: true, Reason: "member of " + identity.GroupMasters}, nil
	}
	ix, err := z.current(ctx)
	if err != nil {
		return access.Decision{}, err
	}
	a = withName(a)
	var d access.Decision
	ix.visit(a.User, a.Namespace, func(g *grant) bool {
		for i := range g.rules {
			if matches(&g.rules[i], &a) {
				d = access.Decision{Allowed: true, Reason: g.reason}
				return false
			}
		}
		return true
	})
	return d, nil
}

// RulesFor returns every rule that a caller has in a namespace, "" being the
// cluster scope.
func (z *Authorizer) RulesFor(ctx context.Context, user identity.Identity, namespace string) ([]rbacv1.PolicyRule, error) {
	ix, err := z.current(ctx)
	if err != nil {
		return nil, err
	}
	var rules []rbacv1.PolicyRule
	ix.visit(user, namespace, func(g *grant) bool {
		rules = append(rules, g.rules...)
		return true
	})
	if !user.InGroup(identity.GroupMasters) {
		return rules, nil
	}
	for _, all := range everything() { // without any binding
		if !slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool { return equality.Semantic.DeepEqual(r, all) }) {
			rules = append(rules, all)
		}
	}
	return rules, nil
}

// rulesOf returns the rules of the role that a binding refers to.
func (z *Authorizer) rulesOf(ctx context.Context, namespace string, ref rbacv1.RoleRef) ([]rbacv1.PolicyRule, bool, error) {
	ix, err := z.current(ctx)
	if err != nil {
		return nil, false, err
	}
	rules, ok := ix.roles.rules(namespace, ref)
	return rules, ok, nil
}

// current returns the index of the present rules.
func (z *Authorizer) current(ctx context.Context) (*index, error) {
	versions, err := z.present(ctx)
	if err != nil {
		return nil, err
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.index != nil && z.versions == versions {
		return z.index, nil
	}
	// The versions were read before the rules: should these be newer, the
	// next call sees newer versions and reads again.
	p, err := z.read(ctx)
	if err != nil {
		return nil, err
	}
	z.index, z.versions = newIndex(p), versions
	return z.index, nil
}

func (z *Authorizer) present(ctx context.Context) ([4]int64, error) {
	var versions [4]int64
	for i, r := range resources() {
		v, err := z.reader.Version(ctx, r)
		if err != nil {
			return versions, fmt.Errorf("look for changes of %s: %w", r.Resource, err)
		}
		versions[i] = v
	}
	return versions, nil
}

func (z *Authorizer) read(ctx context.Context) (policy, error) {
	var p policy
	r := resources()
	for i, into := range [4]func(kinds.Object){
		collectInto(&p.roles), collectInto(&p.clusterRoles), collectInto(&p.bindings), collectInto(&p.clusterBindings),
	} {
		objs, err := z.reader.List(ctx, r[i], "")
		if err != nil {
			return p, fmt.Errorf("list %s: %w", r[i].Resource, err)
		}
		for _, obj := range objs {
			into(obj)
		}
	}
	return p, nil
}

func collectInto[T kinds.Object](list *[]T) func(kinds.Object) {
	return func(obj kinds.Object) {
		if t, ok := obj.(T); ok {
			*list = append(*list, t)
		}
	}
}

func everything() []rbacv1.PolicyRule {
	all := []string{"*"}
	return []rbacv1.PolicyRule{
		{Verbs: all, APIGroups: all, Resources: all},
		{Verbs: all, NonResourceURLs: all},
	}
}
