package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/managedfields"

	"navarch.dev/navarch/internal/expression"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/admission"
	"navarch.dev/navarch/services/store/admission/matching"
	"navarch.dev/navarch/services/store/admission/subject"
)

// Mutating returns the rule that applies MutatingAdmissionPolicies. types tells
// how the fields of objects merge.
func Mutating(o Options, types func() managedfields.TypeConverter) admission.Plugin {
	m := &mutating{applier: newApplier(o), types: types}
	m.source = &source[mutations]{
		reader: o.Reader, policies: gvr("mutatingadmissionpolicies"), bindings: gvr("mutatingadmissionpolicybindings"),
		read: m.read,
		bind: func(obj kinds.Object) (string, *binding) {
			spec := obj.(*admissionv1.MutatingAdmissionPolicyBinding).Spec
			return spec.PolicyName, newBinding(obj.GetName(), spec.ParamRef, spec.MatchResources)
		},
	}
	return m
}

// mutating is the rule that applies MutatingAdmissionPolicies, one after the
// other in the order of their names.
type mutating struct {
	applier
	source *source[mutations]
	types  func() managedfields.TypeConverter
}

// mutations are what is to be changed.
type mutations struct {
	each []mutation
	// again says that the policy wants to see what was changed after it.
	again bool
}

// mutation makes an object to be applied or a JSON patch.
type mutation struct {
	expression.Checked
	applies bool
}

func (m *mutating) read(obj kinds.Object) *policy[mutations] {
	spec := obj.(*admissionv1.MutatingAdmissionPolicy).Spec
	p := &policy[mutations]{name: obj.GetName(), ignore: spec.FailurePolicy != nil && *spec.FailurePolicy == admissionv1.Ignore}
	d := expression.Declarations{Params: spec.ParamKind != nil, Authorizer: true}
	p.conditions = expression.NewConditions(spec.MatchConditions, d)
	p.variables = defineVariables(spec.Variables, d)
	d.Variables, d.Patches = p.variables, true
	p.rules.again = spec.ReinvocationPolicy == admissionv1.IfNeededReinvocationPolicy
	for _, one := range spec.Mutations {
		switch {
		case one.ApplyConfiguration != nil:
			source := strings.TrimSpace(one.ApplyConfiguration.Expression)
			p.rules.each = append(p.rules.each, mutation{expression.Check(source, d, expression.ObjectType), true})
		case one.JSONPatch != nil:
			source := strings.TrimSpace(one.JSONPatch.Expression)
			p.rules.each = append(p.rules.each, mutation{expression.Check(source, d, expression.JSONPatches), false})
		}
	}
	var kindErr, matchErr error
	p.params, kindErr = paramKind(m.Kinds, spec.ParamKind)
	p.constraints, matchErr = matching.ForPolicy(spec.MatchConstraints)
	p.broken = errors.Join(kindErr, matchErr)
	return p
}

// Validate implements admission.Plugin.
func (*mutating) Validate(context.Context, *admission.Request) error { return nil }

// memory is what is noted between the rounds of a request.
type memory struct {
	// last is the object as the policies left it.
	last kinds.Object
	// before are the applications of policies that want to see what was changed
	// after them, and due those of them after which something was.
	before, due map[application]bool
}

// application is a policy as a binding applies it with its n-th parameter.
type application struct {
	policy, binding string
	param           int
}

// changed makes the applications so far due.
func (m *memory) changed() {
	for a := range m.before {
		m.due[a] = true
	}
	clear(m.before)
}

// Mutate implements admission.Plugin.
func (m *mutating) Mutate(ctx context.Context, r *admission.Request) error {
	if exempt(r) || r.Object == nil {
		return nil
	}
	policies, err := m.source.now(ctx)
	if err != nil || len(policies) == 0 {
		return err
	}
	notes := r.Rounds.Note(m, func() any { return &memory{before: map[application]bool{}, due: map[application]bool{}} }).(*memory)
	if r.Rounds.Second() && !equality.Semantic.DeepEqual(notes.last, r.Object) {
		notes.changed() // by the other rules
	}
	for _, p := range policies {
		if err := m.apply(ctx, p, r, notes); err != nil {
			return err
		}
	}
	// What comes after may change the object, and so ask for another round.
	notes.last, _ = r.Object.DeepCopyObject().(kinds.Object)
	return nil
}

// apply applies a policy to a request, if it is about it.
func (m *mutating) apply(ctx context.Context, p *policy[mutations], r *admission.Request, notes *memory) error {
	kind, err := m.matcher.Match(ctx, p.constraints, r)
	if err == nil && kind == nil {
		return nil
	}
	if err == nil {
		err = p.broken
	}
	if err != nil {
		return p.cannotMutate(r, nil, fmt.Errorf("failed to configure policy: %w", err))
	}
	for _, b := range p.bindings {
		params, err := m.bound(ctx, p.params, b, r)
		if err != nil {
			err = p.cannotMutate(r, b, fmt.Errorf("failed to configure binding: %w", err))
		}
		for n, param := range params {
			if err == nil {
				err = m.applyWith(ctx, p, b, r, kind, param, application{p.name, b.name, n}, notes)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bound returns the parameters with which a binding applies to a request; none
// if it does not.
func (a *applier) bound(ctx context.Context, params *kinds.Kind, b *binding, r *admission.Request) ([]map[string]any, error) {
	if b.broken != nil {
		return nil, b.broken
	}
	if b.constraints != nil {
		matched, err := a.matcher.Match(ctx, b.constraints, r)
		if err != nil || matched == nil {
			return nil, err
		}
	}
	return a.paramsOf(ctx, params, b.params, matching.NamespaceOf(r))
}

// cannotMutate is the refusal of a request for a policy that fails, nil if
// failures are to be ignored.
func (p *policy[P]) cannotMutate(r *admission.Request, b *binding, err error) error {
	if p.ignore {
		return nil
	}
	message := fmt.Sprintf("policy '%s' denied request: %v", p.name, err)
	if b != nil {
		message = fmt.Sprintf("policy '%s' with binding '%s' denied request: %v", p.name, b.name, err)
	}
	status := apierrors.NewForbidden(r.Kind.GroupResource(), r.Title(), err)
	status.ErrStatus.Message = message
	status.ErrStatus.Details.Causes = append(status.ErrStatus.Details.Causes, metav1.StatusCause{Message: message})
	return status
}

// applyWith applies a policy with a parameter, if its conditions are met and, in
// the second round, it is due.
func (m *mutating) applyWith(ctx context.Context, p *policy[mutations], b *binding, r *admission.Request, kind *kinds.Kind, param map[string]any, which application, notes *memory) error {
	inputs := func() (*expression.Inputs, error) {
		in, err := m.inputs(ctx, r, kind)
		if err == nil {
			in.Params, in.Variables = param, p.variables
		}
		return in, err
	}
	in, err := inputs()
	if err != nil {
		return p.cannotMutate(r, b, err)
	}
	matched, err := p.matches(ctx, in)
	if err != nil {
		return p.cannotMutate(r, b, err)
	}
	if !matched || r.Rounds.Second() && !notes.due[which] {
		return nil
	}
	before := r.Object
	for _, one := range p.rules.each {
		if in, err = inputs(); err == nil { // as the mutation before left the object
			err = m.mutate(ctx, one, in, r, kind)
		}
		if err == nil {
			continue
		}
		if err = p.cannotMutate(r, b, err); err != nil {
			return err
		}
	}
	if !equality.Semantic.DeepEqual(before, r.Object) {
		notes.changed()
		r.Rounds.Change()
	}
	if p.rules.again {
		notes.before[which] = true
	}
	return nil
}

// mutate makes one change. The object is replaced, not changed.
func (m *mutating) mutate(ctx context.Context, one mutation, in *expression.Inputs, r *admission.Request, kind *kinds.Kind) error {
	budget := expression.PolicyBudget
	value, err := one.Native(ctx, in, &budget)
	if err != nil {
		return err
	}
	before, err := subject.View(r, kind, r.Object)
	if err != nil {
		return err
	}
	var after kinds.Object
	if one.applies {
		after, err = applied(m.types(), before, value)
	} else {
		after, err = patched(before, value)
	}
	if err != nil {
		return err
	}
	if fill := kind.Strategy.Default; fill != nil && r.ObjectKind.Empty() {
		fill(after)
	}
	return subject.Take(r, kind, after)
}
