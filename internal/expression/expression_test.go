package expression_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/expression"
)

// inputs are a request of jane, who may get pods and see /healthz, to change a
// Deployment.
func inputs(t *testing.T) *expression.Inputs {
	t.Helper()
	return &expression.Inputs{
		Object:    map[string]any{"spec": map[string]any{"replicas": int64(3), "ratio": 0.5}, "metadata": map[string]any{"name": "web", "namespace": "prod"}},
		OldObject: map[string]any{"spec": map[string]any{"replicas": int64(1)}},
		Request:   map[string]any{"operation": "UPDATE", "name": "web", "userInfo": map[string]any{"username": "jane", "groups": []any{"devs"}}},
		Params:    map[string]any{"data": map[string]any{"most": "5"}},
		Namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "prod", Labels: map[string]string{"env": "prod"}}},
		Authorizer: &expression.Authorizer{
			Context: t.Context(),
			Request: expression.Question{Group: "apps", Resource: "deployments", Namespace: "prod", Name: "web"},
			Ask: func(_ context.Context, c expression.Question) expression.Decision {
				may := c.Path == "/healthz" && c.Verb == "get" || c.Resource == "pods" && c.Verb == "get" || c.ServiceAccount == "a/b" ||
					c.Resource == "deployments" && c.Group == "apps" && c.Name == "web" && c.Verb == "fancy"
				return expression.Decision{Allowed: may, Reason: "as " + c.Resource}
			},
		},
	}
}

func all() expression.Declarations { return expression.Declarations{Params: true, Authorizer: true} }

// TestTrue lists expressions that are true of inputs.
func TestTrue(t *testing.T) {
	for _, source := range []string{
		// variables
		"object.spec.replicas > oldObject.spec.replicas", "object.spec.replicas <= 3.5", "object.metadata.namespace == 'prod'",
		"request.operation == 'UPDATE' && 'devs' in request.userInfo.groups", "!has(request.subResource)",
		"int(params.data.most) >= object.spec.replicas", "namespaceObject.metadata.labels['env'] == 'prod'",
		"object.?spec.?nothing.orValue('x') == 'x'", "!has(object.spec.nothing)",
		// lists
		"[1, 2, 2].isSorted() && ![2, 1].isSorted() && [].isSorted()", "[1, 2].sum() == 3 && [1.5].sum() == 1.5", "[duration('1m'), duration('1s')].sum() == duration('61s')",
		"[3, 1, 2].min() == 1 && ['a', 'c'].max() == 'c'", "[1, 2, 1].indexOf(1) == 0 && [1, 2, 1].lastIndexOf(1) == 2 && [1].indexOf(7) == -1",
		"[1, 2, 3].all(i, i > 0)", "sets.contains([1, 2], [1])", "'a,b'.split(',') == ['a', 'b']", "{'a': 1}.all(k, v, v == 1)",
		// text
		"'abc 123'.find('[0-9]+') == '123'", "'1 2 3'.findAll('[0-9]') == ['1', '2', '3'] && '1 2 3'.findAll('[0-9]', 1) == ['1']", "'x'.matches('^x$')",
		"url('https://h:80/a b?k=1&k=2').getHost() == 'h:80'", "url('https://h:80/x').getPort() == '80' && url('https://h/x').getHostname() == 'h'",
		"url('https://h/a%20b').getEscapedPath() == '/a%20b' && url('http://h').getScheme() == 'http'", "url('https://h/?k=1&k=2').getQuery() == {'k': ['1', '2']}",
		"isURL('/x') && !isURL('x')",
		// quantities and versions
		"quantity('1Gi').isGreaterThan(quantity('1G')) && quantity('1').isLessThan(quantity('2'))", "quantity('1.5').add(quantity('500m')) == quantity('2')",
		"quantity('5').sub(2).asInteger() == 3 && quantity('-1').sign() == -1", "isQuantity('1k') && !isQuantity('x') && !isQuantity('1e-1000000000')", "!quantity('1.5').isInteger() && quantity('1.5').asApproximateFloat() == 1.5",
		"quantity('1k').compareTo(quantity('1000')) == 0", "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('v1.2', true).minor() == 2", "isSemver('1.2.3') && !isSemver('v1')",
		// addresses
		"ip('10.0.0.1').family() == 4 && ip('::1').isLoopback() && !isIP('::ffff:1.2.3.4')", "ip.isCanonical('::1') && !ip.isCanonical('::0001')", "string(ip('::1')) == '::1'",
		"cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').containsIP(ip('10.1.2.3'))", "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && !cidr('10.1.0.0/16').containsCIDR(cidr('10.0.0.0/8'))",
		"cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8') && cidr('10.0.0.0/8').prefixLength() == 8 && cidr('10.0.0.0/8').ip() == ip('10.0.0.0')", "isCIDR('::/0') && string(cidr('::/0')) == '::/0'",
		// formats
		"!format.dns1123Label().validate('a-b').hasValue()", "format.dns1123Label().validate('A').hasValue()", "format.named('uuid').hasValue() && !format.named('nonsense').hasValue()",
		"format.uuid().validate('x').value()[0] == 'does not match the UUID format'", "!format.date().validate('2024-02-29').hasValue() && format.date().validate('2023-02-29').hasValue()",
		// authorizer
		"authorizer.path('/healthz').check('get').allowed()", "authorizer.group('').resource('pods').namespace('x').check('get').allowed()",
		"!authorizer.group('').resource('secrets').check('get').allowed() && authorizer.group('').resource('secrets').check('get').reason() == 'as secrets'",
		"authorizer.requestResource.check('fancy').allowed() && !authorizer.requestResource.check('get').allowed()", "authorizer.serviceAccount('a', 'b').path('/x').check('get').allowed()",
		"!authorizer.group('').resource('x').subresource('y').name('z').check('get').errored()",
	} {
		p, err := expression.Compile(source, all(), cel.BoolType)
		if err != nil {
			t.Errorf("%s\n%v", source, err)
			continue
		}
		budget := expression.PolicyBudget
		if got, err := p.Evaluate(t.Context(), inputs(t), &budget); err != nil || got != types.True {
			t.Errorf("%s\nis %v: %v", source, got, err)
		}
	}
}

// TestCompileErrors: what is wrong is told when an expression is written.
func TestCompileErrors(t *testing.T) {
	for _, c := range []struct{ source, want string }{
		{"object.", "compilation failed: ERROR: <input>:1:8: Syntax error: no viable alternative at input '.'"},
		{"1", "must evaluate to bool but got int"},
		{"object.spec.paused", "must evaluate to bool but got dyn"},
		{"request.nothing == 'x'", "undefined field 'nothing'"},
		{"request.dryRun == 'x'", "found no matching overload for '_==_' applied to '(bool, string)'"},
		{"namespaceObject.metadata.managedFields == []", "undefined field 'managedFields'"},
		{"params.x == 1", "undeclared reference to 'params'"},
		{"authorizer.path('/').check('get').allowed()", "undeclared reference to 'authorizer'"},
		{"variables.x == 1", "undeclared reference to 'variables'"},
		{"unknown(1)", "undeclared reference to 'unknown'"},
		{"'a'.matches('(')", "invalid matches argument"},
		{"[1, 'a'].size() == 2", "expected type 'int' but found 'string'"},
		{"Object{} == null", "undeclared reference to 'Object'"},
	} {
		_, err := expression.Compile(c.source, expression.Declarations{}, cel.BoolType)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\nis wrong as %v\nnot as    %s", c.source, err, c.want)
		}
	}
}

func TestEvaluationErrors(t *testing.T) {
	for _, c := range []struct{ source, want string }{
		{"object.spec.nothing == 1", "expression 'object.spec.nothing == 1' resulted in error: no such key: nothing"},
		{"object.spec.replicas == 1 / 0", "division by zero"},
		{"object.spec.replicas.isSorted()", "no such overload"},
		{"[].min() == 1", "min called on empty list"},
		{"quantity(object.metadata.name).sign() == 1", "quantities must match the regular expression"},
		{"url('x').getHost() == 'x'", "URL parse error during conversion from string: "},
		{"[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, [1,2,3,4,5,6,7,8,9,10].all(f, a+b+c+d+e+f > 0))))))",
			"operation cancelled: actual cost limit exceeded"},
	} {
		p, err := expression.Compile(c.source, all(), cel.BoolType)
		if err != nil {
			t.Errorf("%s: %v", c.source, err)
			continue
		}
		budget := expression.PolicyBudget
		if _, err := p.Evaluate(t.Context(), inputs(t), &budget); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\nfails as %v\nnot as   %s", c.source, err, c.want)
		}
	}
}

// TestVariables: each is evaluated once, when it is first used, on the budget of
// who uses it.
func TestVariables(t *testing.T) {
	asked := 0
	in := inputs(t)
	ask := in.Authorizer.Ask
	in.Authorizer.Ask = func(ctx context.Context, c expression.Question) expression.Decision {
		asked++
		return ask(ctx, c)
	}
	variables := expression.NewVariables(all())
	in.Variables = variables
	for _, v := range []struct{ name, source, wrong string }{
		{"replicas", "object.spec.replicas + 0", ""},
		{"many", "variables.replicas == 3", ""},
		{"may", "authorizer.path('/healthz').check('get').allowed()", ""},
		{"broken", "object.nothing", ""},
		{"early", "variables.late", "undefined field 'late'"},
		{"late", "1", ""},
	} {
		err := variables.Add(v.name, v.source)
		if v.wrong == "" && err != nil || v.wrong != "" && (err == nil || !strings.Contains(err.Error(), v.wrong)) {
			t.Errorf("variable %s: %v", v.name, err)
		}
	}
	d := all()
	d.Variables = variables
	budget := expression.PolicyBudget
	for _, c := range []struct{ source, fails string }{
		{"variables.many && variables.may", ""},
		{"variables.may && has(variables.late)", ""},
		{"variables.broken == 1", `composited variable "broken" fails to evaluate: expression 'object.nothing' resulted in error: no such key: nothing`},
	} {
		p, err := expression.Compile(c.source, d, cel.BoolType)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Evaluate(t.Context(), in, &budget)
		if c.fails != "" {
			if err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%s fails as %v", c.source, err)
			}
		} else if err != nil || got != types.True {
			t.Errorf("%s is %v: %v", c.source, got, err)
		}
	}
	if asked != 1 {
		t.Errorf("the variable was evaluated %d times", asked)
	}
	if spent := expression.PolicyBudget - budget; spent < 350_000 || spent > 400_000 {
		t.Errorf("the expressions cost %d", spent)
	}
	if _, err := expression.Compile("variables.other == 1", d, cel.BoolType); err == nil || !strings.Contains(err.Error(), "undefined field 'other'") {
		t.Errorf("an unknown variable: %v", err)
	}
}

func TestBudget(t *testing.T) {
	p, err := expression.Compile("authorizer.path('/healthz').check('get').allowed()", all(), cel.BoolType)
	if err != nil {
		t.Fatal(err)
	}
	budget := expression.Budget(400_000)
	if _, err := p.Evaluate(t.Context(), inputs(t), &budget); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Evaluate(t.Context(), inputs(t), &budget); !errors.Is(err, expression.ErrOutOfBudget) {
		t.Errorf("beyond its budget, it fails as %v", err)
	}
}

func TestPatches(t *testing.T) {
	d := expression.Declarations{Patches: true}
	for _, c := range []struct{ source, want, wrong string }{
		{"Object{spec: Object.spec{replicas: object.spec.replicas + 1, list: [Object.spec.list{a: 'b'}]}}", `{"spec":{"list":[{"a":"b"}],"replicas":4}}`, ""},
		{"[JSONPatch{op: 'add', path: '/a/' + jsonpatch.escapeKey('b/c~'), value: {'x': 1}}]", `[{"op":"add","path":"/a/b~1c~0","value":{"x":1}}]`, ""},
		{"Object{spec: Object.status{}}", "", `unexpected type name "Object.status", expected "Object.spec"`},
		{"[JSONPatch{op: 1}]", "", "expected type of field 'op' is 'string' but provided type is 'int'"},
		{"[JSONPatch{operation: 'add'}]", "", "undefined field 'operation'"},
	} {
		returns := expression.ObjectType
		if strings.HasPrefix(c.source, "[") {
			returns = expression.JSONPatches
		}
		got, err := evaluatePatch(t, c.source, d, returns)
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%s\nfails as %v", c.source, err)
			}
		} else if err != nil || got != c.want {
			t.Errorf("%s\nis %s: %v", c.source, got, err)
		}
	}
}

func evaluatePatch(t *testing.T, source string, d expression.Declarations, returns *cel.Type) (string, error) {
	t.Helper()
	p, err := expression.Compile(source, d, returns)
	if err != nil {
		return "", err
	}
	budget := expression.PolicyBudget
	value, err := p.Evaluate(t.Context(), inputs(t), &budget)
	if err != nil {
		return "", err
	}
	native, err := expression.Native(value)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(native)
	return string(text), err
}
