// Package policy applies the policies that a cluster's users have made:
// ValidatingAdmissionPolicies judge what is written by expressions, and
// MutatingAdmissionPolicies change it, without anybody being asked.
//
// A policy says which requests it is about and what holds for them, or what is to
// be changed. It applies only where a binding names it. The binding may narrow the requests down, name
// parameters, and say what becomes of those that break the policy.
package policy

import (
	"context"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/expression"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/admission"
	"navarch.dev/navarch/services/store/admission/matching"
	"navarch.dev/navarch/services/store/admission/subject"
)

// Options are what policies are applied with.
type Options struct {
	// Reader shows the policies, their parameters and the namespaces.
	Reader access.Reader
	Kinds  *kinds.Registry
	// Authorizer answers what expressions ask about the user.
	Authorizer access.Authorizer
}

// policy is a policy, ready to be applied. P is what its kind adds.
type policy[P any] struct {
	name        string
	constraints *matching.Constraints
	params      *kinds.Kind // nil: none
	conditions  expression.Conditions
	variables   *expression.Variables
	ignore      bool // its failures
	rules       P
	bindings    []*binding
	// broken is why the policy cannot be applied; nil if it can.
	broken error
}

// binding makes a policy apply.
type binding struct {
	name        string
	constraints *matching.Constraints // nil: those of the policy
	params      *admissionv1.ParamRef
	actions     []admissionv1.ValidationAction
	broken      error
}

// applier matches requests with policies.
type applier struct {
	Options
	matcher matching.Matcher
}

func newApplier(o Options) applier {
	return applier{Options: o, matcher: matching.Matcher{Reader: o.Reader, Kinds: o.Kinds}}
}

// exempt says whether no policy applies to a request: where it is about what
// decides about requests, so that a policy that refuses everything can be
// removed.
func exempt(r *admission.Request) bool {
	return r.Judged || r.Kind.Group == admissionv1.GroupName
}

// inputs returns the variables of expressions about a request.
func (a *applier) inputs(ctx context.Context, r *admission.Request, kind *kinds.Kind) (*expression.Inputs, error) {
	var namespace *corev1.Namespace
	if r.Kind.Namespaced {
		var err error
		if namespace, err = a.matcher.Namespace(ctx, r); err != nil {
			return nil, err
		}
	}
	return subject.Inputs(ctx, r, kind, namespace, a.Authorizer)
}

func gvr(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: admissionv1.GroupName, Version: "v1", Resource: resource}
}
