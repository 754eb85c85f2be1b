package expression_test

import (
	"context"
	"testing"

	"github.com/google/cel-go/cel"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/expression"
)

// FuzzDeviceSelector checks that whatever somebody writes as a selector of
// devices is refused, fails or decides.
func FuzzDeviceSelector(f *testing.F) {
	for _, source := range []string{
		`device.driver == "d.com"`, `device.attributes["d.com"].model.startsWith("a")`, `device.capacity["d.com"].memory.isGreaterThan(quantity("1Gi"))`,
		`device.attributes.all(d, device.attributes[d].all(k, k != ""))`, `cel.bind(x, device.attributes["d.com"], x.a || x.b)`, `device.attributes[""][""]`,
	} {
		f.Add(source)
	}
	device, err := expression.NewDevice("d.com", &resourcev1.Device{Attributes: map[resourcev1.QualifiedName]resourcev1.DeviceAttribute{"model": {StringValue: ptr.To("a")}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, source string) {
		selector, err := expression.CompileDeviceSelector(source)
		if err == nil && selector.Cost() <= resourcev1.CELSelectorExpressionMaxCost {
			_, _ = selector.Matches(t.Context(), device) // what does not decide is an error
		}
	})
}

// FuzzExpression checks that whatever somebody writes as an expression is
// refused, fails or has a value, within its budget.
func FuzzExpression(f *testing.F) {
	for _, source := range []string{
		"object.spec.replicas > 3", "Object{spec: Object.spec{a: [Object.spec.a{}]}}", "[JSONPatch{op: 'add', path: '/a', value: b'x'}]",
		"quantity(params.a).add(1).compareTo(quantity('1'))", "[1, 2].map(i, ip('10.0.0.1').family() + i).sum()", "format.named('uri').value().validate('x')",
		"cidr('10.0.0.0/8').containsIP(object.x)", "url('http://a/').getQuery()", "'a'.findAll('(', 2)", "authorizer.path('/').check('get').reason()",
		"[[1], [2]].max()", "semver('1.2.3', true).isLessThan(semver(object.x))", "{'a': timestamp('2020-01-01T00:00:00Z')}", "namespaceObject.metadata.labels",
	} {
		f.Add(source)
	}
	d := expression.Declarations{Params: true, Authorizer: true, Patches: true}
	f.Fuzz(func(t *testing.T, source string) {
		program, err := expression.Compile(source, d, cel.AnyType)
		if err != nil {
			return
		}
		in := &expression.Inputs{
			Object: map[string]any{"x": "10.0.0.1", "spec": map[string]any{"replicas": int64(1)}}, Request: map[string]any{}, Namespace: &corev1.Namespace{},
			Authorizer: &expression.Authorizer{Context: t.Context(), Ask: func(context.Context, expression.Question) expression.Decision { return expression.Decision{} }},
		}
		budget := expression.PolicyBudget
		value, err := program.Evaluate(t.Context(), in, &budget)
		if err == nil {
			_, _ = expression.Native(value) // what cannot be written is an error
		}
	})
}
