package policy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/cel-go/cel"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/expression"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/admission"
	"navarch.dev/navarch/services/store/admission/matching"
)

// maxMessage is the most bytes of a message that an expression makes.
const maxMessage = 5 << 10

// Validating returns the rule that applies ValidatingAdmissionPolicies.
func Validating(o Options) admission.Plugin {
	v := &validating{applier: newApplier(o)}
	v.source = &source[validations]{
		reader: o.Reader, policies: gvr("validatingadmissionpolicies"), bindings: gvr("validatingadmissionpolicybindings"),
		read: v.read,
		bind: func(obj kinds.Object) (string, *binding) {
			spec := obj.(*admissionv1.ValidatingAdmissionPolicyBinding).Spec
			b := newBinding(obj.GetName(), spec.ParamRef, spec.MatchResources)
			b.actions = spec.ValidationActions
			return spec.PolicyName, b
		},
	}
	return v
}

// validating is the rule that applies ValidatingAdmissionPolicies.
type validating struct {
	applier
	source *source[validations]
}

// validations are what must hold.
type validations struct {
	each []validation
	// annotations are for the audit log. Those that fail count whether there is
	// one or not.
	annotations []annotation
}

// annotation makes a value for the audit log.
type annotation struct {
	key   string
	value expression.Checked
}

type validation struct {
	admissionv1.Validation
	condition expression.Checked
	// message makes the message of a refusal; nil: it is fixed.
	message *expression.Checked
}

func (v *validating) read(obj kinds.Object) *policy[validations] {
	spec := obj.(*admissionv1.ValidatingAdmissionPolicy).Spec
	p := &policy[validations]{name: obj.GetName(), ignore: spec.FailurePolicy != nil && *spec.FailurePolicy == admissionv1.Ignore}
	d := expression.Declarations{Params: spec.ParamKind != nil, Authorizer: true}
	p.conditions = expression.NewConditions(spec.MatchConditions, d)
	p.variables = defineVariables(spec.Variables, d)
	d.Variables = p.variables
	for _, rule := range spec.Validations {
		one := validation{Validation: rule, condition: expression.Check(rule.Expression, d, cel.BoolType)}
		if rule.MessageExpression != "" {
			unauthorized := d
			unauthorized.Authorizer = false
			message := expression.Check(rule.MessageExpression, unauthorized, cel.StringType)
			one.message = &message
		}
		p.rules.each = append(p.rules.each, one)
	}
	for _, one := range spec.AuditAnnotations {
		value := expression.Check(strings.TrimSpace(one.ValueExpression), d, cel.StringType, cel.NullType)
		p.rules.annotations = append(p.rules.annotations, annotation{one.Key, value})
	}
	var kindErr, matchErr error
	p.params, kindErr = paramKind(v.Kinds, spec.ParamKind)
	p.constraints, matchErr = matching.ForPolicy(spec.MatchConstraints)
	p.broken = errors.Join(kindErr, matchErr)
	return p
}

func defineVariables(variables []admissionv1.Variable, d expression.Declarations) *expression.Variables {
	if len(variables) == 0 {
		return nil
	}
	known := expression.NewVariables(d)
	for _, variable := range variables {
		_ = known.Add(variable.Name, variable.Expression) // those who use it fail
	}
	return known
}

// Mutate implements admission.Plugin.
func (*validating) Mutate(context.Context, *admission.Request) error { return nil }

// Validate implements admission.Plugin. Every policy is heard, also after one that
// refuses the request: for what others warn of and note.
func (v *validating) Validate(ctx context.Context, r *admission.Request) error {
	if exempt(r) {
		return nil
	}
	policies, err := v.source.now(ctx)
	if err != nil {
		return err
	}
	var refused error
	var failed failures
	for _, p := range policies {
		refused = earlier(refused, v.apply(ctx, p, r, &failed))
	}
	failed.note(r)
	return refused
}

// earlier returns the first error that is one.
func earlier(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// apply applies a policy to a request, if it is about it.
func (v *validating) apply(ctx context.Context, p *policy[validations], r *admission.Request, failed *failures) error {
	kind, err := v.matcher.Match(ctx, p.constraints, r)
	if err == nil && kind == nil {
		return nil
	}
	if err == nil {
		err = p.broken
	}
	if err != nil {
		return p.misconfigured(r, nil, err)
	}
	var refused error
	var noted notes
	for _, b := range p.bindings {
		refused = earlier(refused, v.applyBinding(ctx, p, b, trial{request: r, kind: kind, failures: failed, notes: &noted}))
	}
	noted.add(r, p.name)
	return refused
}

// misconfigured is the refusal of a request for a policy or binding that cannot
// be applied, nil if failures are to be ignored.
func (p *policy[P]) misconfigured(r *admission.Request, b *binding, err error) error {
	switch {
	case p.ignore:
		return nil
	case b == nil:
		return p.refusal(r, nil, metav1.StatusReasonInvalid, fmt.Sprintf("failed to configure policy: %v", err))
	}
	return p.refusal(r, b, metav1.StatusReasonInvalid, fmt.Sprintf("failed to configure binding: %v", err))
}

// refusal is what the user is told of a request that a policy refuses.
func (p *policy[P]) refusal(r *admission.Request, b *binding, reason metav1.StatusReason, why string) error {
	message := fmt.Sprintf("ValidatingAdmissionPolicy '%s' denied request: %s", p.name, why)
	if b != nil {
		message = fmt.Sprintf("ValidatingAdmissionPolicy '%s' with binding '%s' denied request: %s", p.name, b.name, why)
	}
	err := apierrors.NewForbidden(r.Kind.GroupResource(), r.Title(), errors.New(message))
	err.ErrStatus.Reason, err.ErrStatus.Code = reason, codeOf(reason)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Message: message})
	return err
}

func codeOf(reason metav1.StatusReason) int32 {
	switch reason {
	case metav1.StatusReasonForbidden:
		return http.StatusForbidden
	case metav1.StatusReasonUnauthorized:
		return http.StatusUnauthorized
	case metav1.StatusReasonRequestEntityTooLarge:
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusUnprocessableEntity
}

// trial is a request to which a policy is applied.
type trial struct {
	request  *admission.Request
	kind     *kinds.Kind // as which the policy sees it
	failures *failures
	notes    *notes
}

func (v *validating) applyBinding(ctx context.Context, p *policy[validations], b *binding, a trial) error {
	r := a.request
	params, err := v.bound(ctx, p.params, b, r)
	if err != nil {
		return p.misconfigured(r, b, err)
	}
	var refused error
	for _, param := range params {
		in, err := v.inputs(ctx, r, a.kind)
		if err != nil {
			return earlier(refused, p.misconfigured(r, b, err))
		}
		in.Params, in.Variables = param, p.variables
		for _, f := range judge(ctx, p, in, a.notes) {
			refused = earlier(refused, p.enforce(b, f, a))
		}
	}
	return refused
}

// finding is something that does not hold.
type finding struct {
	reason  metav1.StatusReason
	message string
	// index is that of the validation.
	index int
	// always refuses the request, whatever the binding says.
	always bool
}

// enforce does what a binding says about a finding.
func (p *policy[P]) enforce(b *binding, f finding, a trial) error {
	r := a.request
	if f.always {
		return p.refusal(r, b, f.reason, f.message)
	}
	var refused error
	for _, action := range b.actions {
		switch action {
		case admissionv1.Deny:
			refused = p.refusal(r, b, f.reason, f.message)
		case admissionv1.Warn:
			r.Warnings.Add(fmt.Sprintf("Validation failed for ValidatingAdmissionPolicy '%s' with binding '%s': %s", p.name, b.name, f.message))
		case admissionv1.Audit:
			a.failures.add(failure{Message: f.message, Policy: p.name, Binding: b.name, ExpressionIndex: f.index, ValidationActions: b.actions})
		}
	}
	return refused
}
