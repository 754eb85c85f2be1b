// Package clusterroleaggregation writes into ClusterRoles that are made of
// others what those allow, so that it can be read there.
package clusterroleaggregation

import (
	"context"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/runner"
)

type reconciler struct {
	client *client.Client
	roles  *client.Informer[*rbacv1.ClusterRole]
}

// New returns the controller. Its keys name ClusterRoles.
func New(deps runner.Deps) (*runner.Controller, error) {
	roles, err := client.InformerFor[*rbacv1.ClusterRole](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	r := &reconciler{client: deps.Client, roles: roles}
	c := runner.New("clusterroleaggregation", r, deps, runner.Options{Trace: roles.TraceContext})
	runner.Watch(c, roles, runner.Input[*rbacv1.ClusterRole]{Keys: r.concerned})
	return c, nil
}

// concerned are the roles that a role may be part of, itself among them.
func (r *reconciler) concerned(*rbacv1.ClusterRole) []string {
	var keys []string
	for _, role := range r.roles.List() {
		if role.AggregationRule != nil {
			keys = append(keys, role.Name)
		}
	}
	return keys
}

// Reconcile writes one role's rules.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	role, ok := r.roles.GetByKey(key)
	if !ok || role.AggregationRule == nil || role.DeletionTimestamp != nil {
		return runner.Done(), nil
	}
	rules, err := r.collect(role)
	if err != nil {
		return runner.Done(), runner.Terminal(err)
	}
	if equality.Semantic.DeepEqual(rules, role.Rules) {
		return runner.Done(), nil
	}
	changed := role.DeepCopy()
	changed.Rules = rules
	if err := r.client.Update(ctx, changed); err != nil && !apierrors.IsNotFound(err) {
		return runner.Done(), fmt.Errorf("write the rules of the cluster role %s: %w", key, err)
	}
	return runner.Done(), nil
}

// collect returns the rules of all roles that a role selects, each rule once.
func (r *reconciler) collect(role *rbacv1.ClusterRole) ([]rbacv1.PolicyRule, error) {
	all := r.roles.List()
	slices.SortFunc(all, func(a, b *rbacv1.ClusterRole) int { return strings.Compare(a.Name, b.Name) })
	var rules []rbacv1.PolicyRule
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			return nil, fmt.Errorf("read what the cluster role %s selects: %w", role.Name, err)
		}
		for _, part := range all {
			if part.Name == role.Name || !selector.Matches(labels.Set(part.Labels)) {
				continue
			}
			for _, rule := range part.Rules {
				if !slices.ContainsFunc(rules, func(have rbacv1.PolicyRule) bool { return equality.Semantic.DeepEqual(have, rule) }) {
					rules = append(rules, rule)
				}
			}
		}
	}
	return rules, nil
}
