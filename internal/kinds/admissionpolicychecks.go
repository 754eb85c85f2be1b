package kinds

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/expression"
	"navarch.dev/navarch/internal/kinds/rule"
)

const (
	maxAuditAnnotations = 20
	// maxValueExpression is the most bytes of an audit annotation's expression.
	maxValueExpression = 5 << 10
)

// policyExpressions checks the expressions of a policy.
type policyExpressions struct {
	declarations expression.Declarations
}

func newPolicyExpressions(params *admissionv1.ParamKind) *policyExpressions {
	return &policyExpressions{expression.Declarations{Params: params != nil, Authorizer: true}}
}

// check checks an expression whose value must be of one of the types.
func (p *policyExpressions) check(source string, at *field.Path, types ...*cel.Type) field.ErrorList {
	return checkExpression(source, p.declarations, at, types...)
}

func checkExpression(source string, d expression.Declarations, at *field.Path, types ...*cel.Type) field.ErrorList {
	if _, err := expression.Compile(source, d, types...); err != nil {
		return field.ErrorList{field.Invalid(at, source, err.Error())}
	}
	return nil
}

// define checks variables and lets later expressions use them.
func (p *policyExpressions) define(variables []admissionv1.Variable, at *field.Path) field.ErrorList {
	if len(variables) == 0 {
		return nil
	}
	known := expression.NewVariables(p.declarations)
	errs := rule.Each(variables, at, func(v *admissionv1.Variable, at *field.Path) field.ErrorList {
		errs := validateVariableName(v.Name, at.Child("name"))
		if strings.TrimSpace(v.Expression) == "" {
			return append(errs, field.Required(at.Child("expression"), "expression is not specified"))
		}
		if err := known.Add(v.Name, v.Expression); err != nil {
			errs = append(errs, field.Invalid(at.Child("expression"), v.Expression, err.Error()))
		}
		return errs
	})
	p.declarations.Variables = known
	return errs
}

// identifier is the form of CEL's names.
var identifier = regexp.MustCompile(`^[_a-zA-Z][_a-zA-Z0-9]*$`)

// reservedWords cannot be names.
var reservedWords = []string{
	"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package",
	"namespace", "return", "var", "void", "while",
}

func validateVariableName(name string, at *field.Path) field.ErrorList {
	switch {
	case strings.TrimSpace(name) == "":
		return field.ErrorList{field.Required(at, "name is not specified")}
	case !identifier.MatchString(name) || slices.Contains(reservedWords, name):
		return field.ErrorList{field.Invalid(at, name, "must be a valid CEL identifier")}
	}
	return nil
}

func validateValidatingPolicy(name string, s *admissionv1.ValidatingAdmissionPolicySpec, at *field.Path) field.ErrorList {
	expressions := newPolicyExpressions(s.ParamKind)
	errs := rule.Join(
		validatePolicyBasics(s.FailurePolicy, s.ParamKind, s.MatchConstraints, at),
		validateMatchConditions(s.MatchConditions, s.ParamKind != nil, at.Child("matchConditions")),
		expressions.define(s.Variables, at.Child("variables")),
	)
	validations, annotations := at.Child("validations"), at.Child("auditAnnotations")
	if len(s.Validations)+len(s.AuditAnnotations) == 0 {
		const either = "validations or auditAnnotations must contain at least one item"
		return append(errs, field.Required(validations, either), field.Required(annotations, either))
	}
	errs = append(errs, rule.Each(s.Validations, validations, expressions.validateValidation)...)
	if len(s.AuditAnnotations) > maxAuditAnnotations {
		errs = append(errs, field.Invalid(annotations, s.AuditAnnotations, fmt.Sprintf("must not have more than %d auditAnnotations", maxAuditAnnotations)))
	}
	keys := rule.Seen[string]{}
	return append(errs, rule.Each(s.AuditAnnotations, annotations, func(a *admissionv1.AuditAnnotation, at *field.Path) field.ErrorList {
		return append(expressions.validateAnnotation(name, a, at), keys.Once(a.Key, at.Child("key"))...)
	})...)
}

// validatePolicyBasics checks what all policies have.
func validatePolicyBasics(failure *admissionv1.FailurePolicyType, params *admissionv1.ParamKind, constraints *admissionv1.MatchResources, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if failure == nil {
		errs = append(errs, field.Required(at.Child("failurePolicy"), ""))
	}
	errs = append(errs, rule.OptionalOf(failure, at.Child("failurePolicy"), admissionv1.Fail, admissionv1.Ignore)...)
	if params != nil {
		errs = append(errs, validateParamKind(params, at.Child("paramKind"))...)
	}
	where := at.Child("matchConstraints")
	if constraints == nil {
		return append(errs, field.Required(where, ""))
	}
	errs = append(errs, validateMatchResources(constraints, where)...)
	if len(constraints.ResourceRules) == 0 {
		errs = append(errs, field.Required(where.Child("resourceRules"), ""))
	}
	return errs
}

func (p *policyExpressions) validateValidation(v *admissionv1.Validation, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if strings.TrimSpace(v.Expression) == "" {
		errs = append(errs, field.Required(at.Child("expression"), "expression is not specified"))
	} else {
		errs = append(errs, p.check(v.Expression, at.Child("expression"), cel.BoolType)...)
	}
	switch where := at.Child("messageExpression"); {
	case v.MessageExpression == "":
	case strings.TrimSpace(v.MessageExpression) == "":
		errs = append(errs, field.Invalid(where, v.MessageExpression, "must be non-empty if specified"))
	default:
		d := p.declarations
		d.Authorizer = false
		errs = append(errs, checkExpression(v.MessageExpression, d, where, cel.StringType)...)
	}
	switch message := strings.TrimSpace(v.Message); {
	case v.Message != "" && message == "":
		errs = append(errs, field.Invalid(at.Child("message"), v.Message, "message must be non-empty if specified"))
	case strings.ContainsAny(message, "\n\r"):
		errs = append(errs, field.Invalid(at.Child("message"), v.Message, "message must not contain line breaks"))
	}
	return append(errs, rule.OptionalOf(v.Reason, at.Child("reason"),
		metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge)...)
}

func (p *policyExpressions) validateAnnotation(policy string, a *admissionv1.AuditAnnotation, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if policy == "" {
		errs = append(errs, field.Invalid(at.Child("key"), a.Key, "requires metadata.name be non-empty"))
	} else {
		errs = append(errs, rule.Qualified(policy+"/"+a.Key, at.Child("key"))...)
	}
	where, source := at.Child("valueExpression"), strings.TrimSpace(a.ValueExpression)
	switch {
	case source == "":
		return append(errs, field.Required(where, "valueExpression is not specified"))
	case len(source) > maxValueExpression:
		return append(errs, field.Required(where, fmt.Sprintf("must not exceed %d bytes in length", maxValueExpression)))
	}
	return append(errs, p.check(source, where, cel.StringType, cel.NullType)...)
}

func validateParamKind(k *admissionv1.ParamKind, at *field.Path) field.ErrorList {
	errs := validateParamVersion(k.APIVersion, at.Child("apiVersion"))
	if k.Kind == "" {
		return append(errs, field.Required(at.Child("kind"), ""))
	}
	if wrong := validation.IsDNS1035Label(strings.ToLower(k.Kind)); len(wrong) > 0 {
		errs = append(errs, field.Invalid(at.Child("kind"), k.Kind, "may have mixed case, but should otherwise match: "+strings.Join(wrong, ",")))
	}
	return errs
}

func validateParamVersion(apiVersion string, at *field.Path) field.ErrorList {
	group, version, grouped := strings.Cut(apiVersion, "/")
	switch {
	case apiVersion == "":
		return field.ErrorList{field.Required(at, "")}
	case strings.Contains(version, "/"):
		return field.ErrorList{field.Invalid(at, apiVersion, "unexpected GroupVersion string: "+apiVersion)}
	case !grouped:
		group, version = "", group
	}
	var errs field.ErrorList
	if wrong := validation.IsDNS1123Subdomain(group); group != "" && len(wrong) > 0 {
		errs = append(errs, field.Invalid(at, group, strings.Join(wrong, ",")))
	}
	if version == "" {
		return append(errs, field.Invalid(at, apiVersion, "version must be specified"))
	}
	if wrong := validation.IsDNS1035Label(version); len(wrong) > 0 {
		errs = append(errs, field.Invalid(at, version, strings.Join(wrong, ",")))
	}
	return errs
}

func validateMatchResources(m *admissionv1.MatchResources, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, missing := range []rule.Flag{
		rule.Set("matchPolicy", m.MatchPolicy == nil), rule.Set("namespaceSelector", m.NamespaceSelector == nil),
		rule.Set("objectSelector", m.ObjectSelector == nil),
	} {
		if missing.Set {
			errs = append(errs, field.Required(at.Child(missing.Field), ""))
		}
	}
	return rule.Join(errs,
		rule.OptionalOf(m.MatchPolicy, at.Child("matchPolicy"), admissionv1.Equivalent, admissionv1.Exact),
		rule.Selector(m.NamespaceSelector, at.Child("namespaceSelector")), rule.Selector(m.ObjectSelector, at.Child("objectSelector")),
		rule.Each(m.ResourceRules, at.Child("resourceRules"), validateNamedRule),
		rule.Each(m.ExcludeResourceRules, at.Child("excludeResourceRules"), validateNamedRule),
	)
}

func validateNamedRule(r *admissionv1.NamedRuleWithOperations, at *field.Path) field.ErrorList {
	names := rule.Seen[string]{}
	errs := rule.Each(r.ResourceNames, at.Child("resourceNames"), func(name *string, at *field.Path) field.ErrorList {
		return rule.Join(rule.Form(*name, at, content.IsPathSegmentName), names.Once(*name, at))
	})
	return append(errs, validateWebhookRule(&r.RuleWithOperations, at)...)
}

// validatePolicyBinding checks what the bindings of all policies have.
func validatePolicyBinding(policy string, params *admissionv1.ParamRef, resources *admissionv1.MatchResources, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if policy == "" {
		errs = append(errs, field.Required(at.Child("policyName"), ""))
	} else {
		errs = append(errs, rule.Invalids(at.Child("policyName"), policy, apivalidation.NameIsDNSSubdomain(policy, false))...)
	}
	if params != nil {
		errs = append(errs, validateParamRef(params, at.Child("paramRef"))...)
	}
	if resources != nil {
		errs = append(errs, validateMatchResources(resources, at.Child("matchResources"))...)
	}
	return errs
}

func validateParamRef(r *admissionv1.ParamRef, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	const exclusive = "name and selector are mutually exclusive"
	both := r.Name != "" && r.Selector != nil
	if r.Name != "" {
		errs = append(errs, rule.Form(r.Name, at.Child("name"), content.IsPathSegmentName)...)
	}
	errs = append(errs, rule.Selector(r.Selector, at.Child("selector"))...)
	errs = append(errs, rule.Forbid(at, exclusive, rule.Set("name", both), rule.Set("selector", both))...)
	if r.Name == "" && r.Selector == nil {
		errs = append(errs, field.Required(at, "one of name or selector must be specified"))
	}
	action := at.Child("parameterNotFoundAction")
	if deref(r.ParameterNotFoundAction) == "" {
		return append(errs, field.Required(action, ""))
	}
	return append(errs, rule.Supported(*r.ParameterNotFoundAction, action, admissionv1.DenyAction, admissionv1.AllowAction)...)
}
