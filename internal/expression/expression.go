// Package expression compiles and evaluates the expressions of admission: the
// match conditions of webhooks, and admission policies. They are written in CEL,
// the Common Expression Language, with the variables and the functions that
// Kubernetes gives them.
//
// Compile checks an expression and makes a Program of it. A Program is evaluated
// with Inputs, and with a Budget, which bounds the work of all the expressions
// that share it.
//
// Selectors of devices are another kind of expressions, in the same language and
// with the same functions: CompileDeviceSelector checks one, and estimates what
// it can cost at most.
package expression

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/interpreter"
)

const (
	// perCallLimit is the highest cost of one expression, in CEL's units.
	perCallLimit = 1_000_000
	// checkFrequency is after how many steps of a loop an evaluation looks
	// whether it is still wanted.
	checkFrequency = 100

	// ConditionsBudget is what all match conditions of a webhook or policy may
	// cost together.
	ConditionsBudget Budget = 2_500_000
	// PolicyBudget is what the other expressions of a policy may cost together.
	PolicyBudget Budget = 10_000_000
)

// ErrOutOfBudget says that expressions together cost too much.
var ErrOutOfBudget = errors.New("validation failed due to running out of cost budget, no further validation rules will be run")

// Budget is what may still be spent on expressions.
type Budget int64

// Declarations say what an expression may use beside object, oldObject, request
// and namespaceObject.
type Declarations struct {
	// Params is there where a policy has parameters.
	Params bool
	// Authorizer lets expressions ask what the user may do.
	Authorizer bool
	// Patches lets expressions make objects and JSON patches.
	Patches bool
	// Variables are those that a policy declares, in their order; nil are none.
	Variables *Variables
}

// Program is a checked expression.
type Program struct {
	source  string
	program cel.Program
	output  *cel.Type
}

// Compile checks an expression, whose value must be of one of the types. Its
// errors are in Kubernetes' words.
func Compile(source string, d Declarations, returns ...*cel.Type) (*Program, error) {
	env, err := environment(d)
	if err != nil {
		return nil, fmt.Errorf("unexpected error loading CEL environment: %w", err)
	}
	ast, issues := env.Compile(source)
	if issues.Err() != nil {
		return nil, fmt.Errorf("compilation failed: %s", issues)
	}
	output := ast.OutputType()
	if !slices.ContainsFunc(returns, func(t *cel.Type) bool { return output.IsExactType(t) || t.IsExactType(cel.AnyType) }) {
		if len(returns) == 1 {
			return nil, fmt.Errorf("must evaluate to %v but got %v", returns[0], output)
		}
		return nil, fmt.Errorf("must evaluate to one of %v but got %v", returns, output)
	}
	program, err := env.Program(ast, limited(perCallLimit)...)
	if err != nil {
		return nil, fmt.Errorf("program instantiation failed: %w", err)
	}
	return &Program{source: source, program: program, output: output}, nil
}

// limited makes programs count what an evaluation costs, and end it at a limit or
// when it is no longer wanted. To ask whether a field is there is free.
func limited(limit uint64) []cel.ProgramOption {
	return []cel.ProgramOption{
		cel.EvalOptions(cel.OptOptimize, cel.OptTrackCost), cel.CostTracking(costs{}), cel.CostLimit(limit),
		cel.CostTrackerOptions(interpreter.PresenceTestHasCost(false)), cel.InterruptCheckFrequency(checkFrequency),
	}
}

// Evaluate returns an expression's value and takes its cost from the budget.
func (p *Program) Evaluate(ctx context.Context, in *Inputs, budget *Budget) (ref.Val, error) {
	value, details, err := p.program.ContextEval(ctx, in.activation(ctx, budget))
	if *budget < 0 { // spent on variables
		return nil, ErrOutOfBudget
	}
	if details == nil || details.ActualCost() == nil {
		return nil, fmt.Errorf("runtime cost could not be calculated for expression: %v, no further expression will be run", p.source)
	}
	*budget -= Budget(min(*details.ActualCost(), uint64(PolicyBudget)+1))
	switch {
	case *budget < 0:
		return nil, ErrOutOfBudget
	case err != nil:
		return nil, fmt.Errorf("expression '%s' resulted in error: %w", p.source, err)
	}
	return value, nil
}
