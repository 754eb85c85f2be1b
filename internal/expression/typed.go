package expression

import (
	"errors"
	"fmt"

	"github.com/google/cel-go/cel"
)

// Typed are declarations of a policy's expressions that are about objects of one
// kind.
type Typed struct {
	// Object is the type of object and oldObject.
	Object *cel.Type
	// Params is that of params; nil: there are none.
	Params *cel.Type
	// Types are those that the others are made of.
	Types Types
}

// Checker checks expressions against types. It evaluates none.
type Checker struct {
	env       *cel.Env
	variables fields
}

// NewChecker returns a checker of expressions that may use what t says, the
// authorizer, and the variables that are added.
func NewChecker(t Typed) (*Checker, error) {
	env, err := base()
	if err != nil {
		return nil, err
	}
	c := &Checker{variables: fields{}}
	known := requestTypes()
	for name, of := range t.Types {
		known[name] = of
	}
	known[variablesType] = c.variables
	options := []cel.EnvOption{
		cel.CustomTypeProvider(&structs{Provider: env.CELTypeProvider(), types: known}),
		cel.Variable("object", t.Object), cel.Variable("oldObject", t.Object),
		cel.Variable("request", cel.ObjectType(requestType)), cel.Variable("namespaceObject", cel.ObjectType(namespaceType)),
		cel.Variable("authorizer", authorizerType), cel.Variable("authorizer.requestResource", resourceCheckType),
		cel.Variable(variablesName, cel.ObjectType(variablesType)),
	}
	if t.Params != nil {
		options = append(options, cel.Variable("params", t.Params))
	}
	if c.env, err = env.Extend(options...); err != nil {
		return nil, fmt.Errorf("declare the types of a kind: %w", err)
	}
	return c, nil
}

// Add declares a variable. One whose expression is wrong can be anything: those
// who use it are not found wrong too.
func (c *Checker) Add(name, source string) {
	ast, issues := c.env.Compile(source)
	if issues.Err() != nil {
		c.variables[name] = cel.DynType
		return
	}
	c.variables[name] = ast.OutputType()
}

// Check returns what is wrong with an expression, in CEL's words.
func (c *Checker) Check(source string) error {
	if _, issues := c.env.Compile(source); issues.Err() != nil {
		return errors.New(issues.String())
	}
	return nil
}
