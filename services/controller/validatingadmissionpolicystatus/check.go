package validatingadmissionpolicystatus

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/expression"
	"navarch.dev/navarch/internal/kinds"
)

// mostKinds is against how many kinds a policy is checked.
const mostKinds = 10

// served finds the kinds that the cluster serves.
type served interface {
	ForResource(gvr schema.GroupVersionResource) (*kinds.Kind, bool)
	ForGVK(gvk schema.GroupVersionKind) (*kinds.Kind, bool)
}

// typed is a kind against which expressions are checked.
type typed struct {
	kind    *kinds.Kind
	checker *expression.Checker
}

// warnings returns what is wrong with a policy's expressions, for the kinds that
// it names.
func warnings(p *admissionv1.ValidatingAdmissionPolicy, registry served) ([]admissionv1.ExpressionWarning, error) {
	var against []typed
	for _, kind := range kindsOf(p, registry) {
		checker, err := checkerOf(p, kind, registry)
		if err != nil {
			return nil, err
		}
		against = append(against, typed{kind, checker})
	}
	var found []admissionv1.ExpressionWarning
	check := func(at *field.Path, source string) {
		if warning := check(against, source); warning != "" {
			found = append(found, admissionv1.ExpressionWarning{FieldRef: at.String(), Warning: warning})
		}
	}
	for i, v := range p.Spec.Validations {
		at := field.NewPath("spec", "validations").Index(i)
		check(at.Child("expression"), v.Expression)
		if v.MessageExpression != "" {
			check(at.Child("messageExpression"), v.MessageExpression)
		}
	}
	return found, nil
}

// check returns what is wrong with an expression, "" if nothing is.
func check(against []typed, source string) string {
	var wrong []string
	for _, t := range against {
		if err := t.checker.Check(source); err != nil {
			wrong = append(wrong, fmt.Sprintf("%v: %s\n", t.kind.GVK(), err))
		}
	}
	return strings.Join(wrong, "\n")
}

func checkerOf(p *admissionv1.ValidatingAdmissionPolicy, kind *kinds.Kind, registry served) (*expression.Checker, error) {
	d := declared{make(expression.Types)}
	object, err := d.ofKind(kind)
	if err != nil {
		return nil, fmt.Errorf("read the fields of %v: %w", kind.GVK(), err)
	}
	t := expression.Typed{Object: object, Types: d.types}
	if k := p.Spec.ParamKind; k != nil {
		t.Params = cel.DynType // for what is not served
		if param, ok := registry.ForGVK(schema.FromAPIVersionAndKind(k.APIVersion, k.Kind)); ok {
			if t.Params, err = d.ofKind(param); err != nil {
				return nil, fmt.Errorf("read the fields of %v: %w", param.GVK(), err)
			}
		}
	}
	checker, err := expression.NewChecker(t)
	if err != nil {
		return nil, err
	}
	for _, v := range p.Spec.Variables {
		checker.Add(v.Name, v.Expression)
	}
	return checker, nil
}

// kindsOf returns the kinds that a policy names: those that it is about by a
// wildcard or as a subresource are not checked.
func kindsOf(p *admissionv1.ValidatingAdmissionPolicy, registry served) []*kinds.Kind {
	var found []*kinds.Kind
	if p.Spec.MatchConstraints == nil {
		return nil
	}
	for _, rule := range p.Spec.MatchConstraints.ResourceRules {
		if slices.Contains(rule.APIGroups, "*") || slices.Contains(rule.APIVersions, "*") {
			continue
		}
		for gvr := range resources(rule.Rule) {
			if kind, ok := registry.ForResource(gvr); ok && !slices.Contains(found, kind) {
				found = append(found, kind)
			}
		}
	}
	slices.SortFunc(found, func(a, b *kinds.Kind) int {
		return slices.Compare([]string{a.Group, a.Version, a.Kind}, []string{b.Group, b.Version, b.Kind})
	})
	return found[:min(len(found), mostKinds)]
}

// resources yields what a rule names.
func resources(rule admissionv1.Rule) func(yield func(schema.GroupVersionResource) bool) {
	return func(yield func(schema.GroupVersionResource) bool) {
		for _, group := range rule.APIGroups {
			for _, version := range rule.APIVersions {
				for _, resource := range rule.Resources {
					if !strings.ContainsAny(resource, "*/") && !yield(schema.GroupVersionResource{Group: group, Version: version, Resource: resource}) {
						return
					}
				}
			}
		}
	}
}
