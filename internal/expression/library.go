package expression

import (
	"fmt"
	"reflect"

	"github.com/google/cel-go/cel"
	celfunctions "github.com/google/cel-go/common/functions"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// overload is one form of a function. Its arguments have been checked where
// their types were known, and are checked again where they were not.
type overload struct {
	function string
	// method says that the first argument is written before a dot.
	method bool
	args   []*cel.Type
	result *cel.Type
	call   celfunctions.FunctionOp
}

// functions declares overloads.
func functions(groups ...[]overload) cel.EnvOption {
	return func(env *cel.Env) (*cel.Env, error) {
		var err error
		for _, group := range groups {
			for _, o := range group {
				if env, err = o.option()(env); err != nil {
					return nil, fmt.Errorf("declare the function %s: %w", o.function, err)
				}
			}
		}
		return env, nil
	}
}

func (o overload) option() cel.EnvOption {
	id := "navarch_" + o.function
	for _, a := range o.args {
		id += "_" + a.String()
	}
	declare := cel.Overload
	if o.method {
		id += "_method"
		declare = cel.MemberOverload
	}
	return cel.Function(o.function, declare(id, o.args, o.result, cel.FunctionBinding(o.call)))
}

// function and method make overloads of functions over the arguments' values.
func function(name string, result *cel.Type, call func(args ...ref.Val) ref.Val, args ...*cel.Type) overload {
	return overload{function: name, args: args, result: result, call: call}
}

func method(name string, result *cel.Type, call func(args ...ref.Val) ref.Val, args ...*cel.Type) overload {
	return overload{function: name, method: true, args: args, result: result, call: call}
}

// of1 and of2 take values out of their wrappers, in which there may be others
// than was hoped for.
func of1[A any](call func(A) ref.Val) func(args ...ref.Val) ref.Val {
	return func(args ...ref.Val) ref.Val {
		a, ok := args[0].Value().(A)
		if !ok {
			return types.MaybeNoSuchOverloadErr(args[0])
		}
		return call(a)
	}
}

func of2[A, B any](call func(A, B) ref.Val) func(args ...ref.Val) ref.Val {
	return func(args ...ref.Val) ref.Val {
		a, ok := args[0].Value().(A)
		if !ok {
			return types.MaybeNoSuchOverloadErr(args[0])
		}
		b, ok := args[1].Value().(B)
		if !ok {
			return types.MaybeNoSuchOverloadErr(args[1])
		}
		return call(a, b)
	}
}

// opaque is a value of a type of our own.
type opaque struct {
	value any
	t     *types.Type
	// equal compares values; nil: as Go does.
	equal func(a, b any) bool
	// text is what string() makes of it; nil: nothing.
	text func(any) string
}

// ConvertToNative implements ref.Val.
func (o *opaque) ConvertToNative(t reflect.Type) (any, error) {
	if reflect.TypeOf(o.value).AssignableTo(t) {
		return o.value, nil
	}
	return nil, fmt.Errorf("type conversion error from '%s' to '%v'", o.t, t)
}

// ConvertToType implements ref.Val.
func (o *opaque) ConvertToType(t ref.Type) ref.Val {
	switch {
	case t == types.TypeType:
		return o.t
	case t.TypeName() == o.t.TypeName():
		return o
	case t == types.StringType && o.text != nil:
		return types.String(o.text(o.value))
	}
	return types.NewErr("type conversion error from '%s' to '%s'", o.t, t)
}

// Equal implements ref.Val.
func (o *opaque) Equal(other ref.Val) ref.Val {
	v, ok := other.(*opaque)
	switch {
	case !ok || v.t != o.t:
		return types.MaybeNoSuchOverloadErr(other)
	case o.equal != nil:
		return types.Bool(o.equal(o.value, v.value))
	}
	return types.Bool(o.value == v.value)
}

// Type implements ref.Val.
func (o *opaque) Type() ref.Type { return o.t }

// Value implements ref.Val.
func (o *opaque) Value() any { return o.value }

// strs is a list of strings.
func strs(list []string) ref.Val { return types.NewStringList(types.DefaultTypeAdapter, list) }

// test makes a function that says whether text can be read.
func test[T any](name string, read func(string) (T, error)) overload {
	return function(name, cel.BoolType, of1(func(s string) ref.Val {
		_, err := read(s)
		return types.Bool(err == nil)
	}), cel.StringType)
}
