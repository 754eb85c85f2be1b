package expression

import (
	"context"
	"fmt"
	"reflect"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Inputs are the values of the variables. What is nil is null to expressions.
type Inputs struct {
	// Object, OldObject, Request and Params are as JSON decodes them.
	Object, OldObject, Request, Params map[string]any
	// Namespace is the object's, nil for what is in none.
	Namespace *corev1.Namespace
	// Authorizer answers what the user may do; nil nobody.
	Authorizer *Authorizer
	// Variables are a policy's; nil are none.
	Variables *Variables

	variables *lazyVariables
	namespace ref.Val
}

// Unstructured returns an object as JSON decodes it; nil stays nil.
func Unstructured(obj runtime.Object) (map[string]any, error) {
	if obj == nil {
		return nil, nil
	}
	return runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
}

// activation resolves the variables of one evaluation.
func (in *Inputs) activation(ctx context.Context, budget *Budget) cel.Activation {
	if in.Variables != nil && in.variables == nil {
		in.variables = &lazyVariables{of: in.Variables, inputs: in, values: make(map[string]ref.Val)}
	}
	if in.variables != nil {
		in.variables.ctx, in.variables.budget = ctx, budget
	}
	return in
}

// ResolveName implements cel.Activation.
func (in *Inputs) ResolveName(name string) (any, bool) {
	switch name {
	case "object":
		return orNull(in.Object), true
	case "oldObject":
		return orNull(in.OldObject), true
	case "request":
		return orNull(in.Request), true
	case "params":
		return orNull(in.Params), true
	case "namespaceObject":
		return in.namespaceObject(), true
	case "authorizer":
		return in.Authorizer.value(), in.Authorizer != nil
	case "authorizer.requestResource":
		return in.Authorizer.requestResource(), in.Authorizer != nil
	case variablesName:
		return in.variables, in.variables != nil
	}
	return nil, false
}

// Parent implements cel.Activation.
func (in *Inputs) Parent() cel.Activation { return nil }

func orNull(m map[string]any) any {
	if m == nil {
		return types.NullValue
	}
	return m
}

// namespaceObject shows the parts of the namespace that expressions may see.
func (in *Inputs) namespaceObject() ref.Val {
	if in.namespace != nil {
		return in.namespace
	}
	in.namespace = types.NullValue
	if ns := in.Namespace; ns != nil {
		shown := &corev1.Namespace{
			ObjectMeta: metav1.ObjectMeta{
				Name: ns.Name, GenerateName: ns.GenerateName, Namespace: ns.Namespace, UID: ns.UID, ResourceVersion: ns.ResourceVersion,
				Generation: ns.Generation, CreationTimestamp: ns.CreationTimestamp, DeletionTimestamp: ns.DeletionTimestamp,
				DeletionGracePeriodSeconds: ns.DeletionGracePeriodSeconds, Labels: ns.Labels, Annotations: ns.Annotations, Finalizers: ns.Finalizers,
			},
			Spec: ns.Spec, Status: ns.Status,
		}
		m, err := Unstructured(shown)
		if err != nil {
			in.namespace = types.NewErr("convert the namespace: %v", err)
			return in.namespace
		}
		in.namespace = types.DefaultTypeAdapter.NativeToValue(m)
	}
	return in.namespace
}

const (
	variablesName = "variables"
	variablesType = "kubernetes.variables"
)

// Variables are the named expressions of a policy. Each may use those before it.
type Variables struct {
	declarations Declarations
	types        fields
	programs     map[string]*Program
}

// NewVariables returns an empty list of variables, for expressions that may use
// what d says.
func NewVariables(d Declarations) *Variables {
	return &Variables{declarations: d, types: fields{}, programs: map[string]*Program{}}
}

// Add checks a variable and lets later expressions use it.
func (v *Variables) Add(name, source string) error {
	d := v.declarations
	d.Variables = v
	program, err := Compile(source, d, cel.AnyType)
	if err != nil {
		v.types[name] = cel.DynType // so that those who use it are not found wrong too
		return err
	}
	v.types[name], v.programs[name] = program.output, program
	return nil
}

func (v *Variables) extend(env *cel.Env) (*cel.Env, error) {
	known := map[string]fields{variablesType: v.types}
	return env.Extend(
		cel.CustomTypeProvider(&structs{Provider: env.CELTypeProvider(), types: known}),
		cel.Variable(variablesName, cel.ObjectType(variablesType)),
	)
}

// lazyVariables evaluates variables when they are first used.
type lazyVariables struct {
	of     *Variables
	inputs *Inputs
	values map[string]ref.Val
	ctx    context.Context //nolint:containedctx // that of the evaluation going on
	budget *Budget
}

// Get implements traits.Indexer.
func (l *lazyVariables) Get(index ref.Val) ref.Val {
	name, ok := index.Value().(string)
	program := l.of.programs[name]
	if !ok || program == nil {
		return types.NewErr("no such key: %v", index)
	}
	if value, ok := l.values[name]; ok {
		return value
	}
	value, err := program.Evaluate(l.ctx, l.inputs, l.budget)
	if err != nil {
		value = types.NewErr("composited variable %q fails to evaluate: %v", name, err)
	}
	l.values[name] = value
	return value
}

// IsSet implements traits.FieldTester.
func (l *lazyVariables) IsSet(field ref.Val) ref.Val {
	name, _ := field.Value().(string)
	return types.Bool(l.of.programs[name] != nil)
}

// ConvertToNative, ConvertToType, Equal, Type and Value implement ref.Val.
func (l *lazyVariables) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("variables cannot be converted to %v", t)
}

func (l *lazyVariables) ConvertToType(ref.Type) ref.Val {
	return types.NewErr("variables cannot be converted")
}
func (l *lazyVariables) Equal(ref.Val) ref.Val { return types.NewErr("variables cannot be compared") }
func (l *lazyVariables) Type() ref.Type        { return types.NewObjectType(variablesType) }
func (l *lazyVariables) Value() any            { return l }
