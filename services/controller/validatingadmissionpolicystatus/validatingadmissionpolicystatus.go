// Package validatingadmissionpolicystatus says in the status of
// ValidatingAdmissionPolicies what is wrong with their expressions, seen with the
// types of the kinds that they are about: a field that such objects do not have,
// or a number that is compared with text. Such a policy works as before, and
// fails for those objects.
//
// A policy is checked when it changes, and when the definition does of a custom
// kind that it names.
package validatingadmissionpolicystatus

import (
	"context"
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/runner"
)

type reconciler struct {
	client      *client.Client
	stock       *kinds.Registry
	policies    *client.Informer[*admissionv1.ValidatingAdmissionPolicy]
	definitions *client.Informer[*kinds.Definition]
}

// New returns the controller. Its keys name policies.
func New(deps runner.Deps) (*runner.Controller, error) {
	policies, err := client.InformerFor[*admissionv1.ValidatingAdmissionPolicy](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	definitions, err := client.InformerFor[*kinds.Definition](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	r := &reconciler{client: deps.Client, stock: deps.Kinds, policies: policies, definitions: definitions}
	c := runner.New("validatingadmissionpolicystatus", r, deps, runner.Options{Trace: policies.TraceContext})
	runner.Primary(c, policies)
	runner.Watch(c, definitions, runner.Input[*kinds.Definition]{Keys: r.concerned})
	return c, nil
}

// concerned are the policies that name a group of custom kinds.
func (r *reconciler) concerned(d *kinds.Definition) []string {
	var keys []string
	for _, p := range r.policies.List() {
		if names(p, d.Spec.Group) {
			keys = append(keys, p.Name)
		}
	}
	return keys
}

func names(p *admissionv1.ValidatingAdmissionPolicy, group string) bool {
	if k := p.Spec.ParamKind; k != nil && schema.FromAPIVersionAndKind(k.APIVersion, k.Kind).Group == group {
		return true
	}
	return p.Spec.MatchConstraints != nil && slices.ContainsFunc(p.Spec.MatchConstraints.ResourceRules, func(rule admissionv1.NamedRuleWithOperations) bool {
		return slices.Contains(rule.APIGroups, group)
	})
}

// ForResource implements served. Custom kinds are what their definitions say now.
func (r *reconciler) ForResource(gvr schema.GroupVersionResource) (*kinds.Kind, bool) {
	if kind, ok := r.stock.ForResource(gvr); ok && kind.Custom == nil {
		return kind, true
	}
	return r.custom(func(kind *kinds.Kind) bool { return kind.GVR() == gvr })
}

// ForGVK implements served.
func (r *reconciler) ForGVK(gvk schema.GroupVersionKind) (*kinds.Kind, bool) {
	if kind, ok := r.stock.ForGVK(gvk); ok && kind.Custom == nil {
		return kind, true
	}
	return r.custom(func(kind *kinds.Kind) bool { return kind.GVK() == gvk })
}

func (r *reconciler) custom(is func(*kinds.Kind) bool) (*kinds.Kind, bool) {
	for _, d := range r.definitions.List() {
		for _, kind := range kinds.FromDefinition(d) {
			if is(kind) {
				return kind, true
			}
		}
	}
	return nil, false
}

// Reconcile checks a policy.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	p, ok := r.policies.GetByKey(key)
	if !ok {
		return runner.Done(), nil
	}
	found, err := warnings(p, r)
	if err != nil {
		return runner.Done(), runner.Terminal(fmt.Errorf("check the types of the policy %s: %w", key, err))
	}
	have := p.Status
	p = p.DeepCopy()
	p.Status.ObservedGeneration = p.Generation
	p.Status.TypeChecking = &admissionv1.TypeChecking{ExpressionWarnings: found}
	if equality.Semantic.DeepEqual(have, p.Status) {
		return runner.Done(), nil
	}
	if err := r.client.UpdateStatus(ctx, p); err != nil && !apierrors.IsNotFound(err) {
		return runner.Done(), fmt.Errorf("write the status of the policy %s: %w", key, err)
	}
	return runner.Done(), nil
}
