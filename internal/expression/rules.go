package expression

import (
	"context"
	"fmt"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

const (
	// selfName and oldSelfName are the variables of rules.
	selfName, oldSelfName = "self", "oldSelf"

	// RulesBudget is what all rules of an object may cost together.
	RulesBudget Budget = 10_000_000
)

// Types are named types of objects: their fields by name.
type Types map[string]map[string]*cel.Type

// Scope is what a rule is about.
type Scope struct {
	// Self is the type of the value. Types are those that it is made of.
	Self  *cel.Type
	Types Types
	// OptionalOld makes oldSelf an optional, which is none where there was no
	// value before.
	OptionalOld bool
	Sizes       Sizes
}

// Rule is a checked rule: an expression over self and oldSelf, the value and
// what it was before.
type Rule struct {
	// UsesOld says that the rule mentions oldSelf.
	UsesOld bool
	// MaxCost is the most that it can cost.
	MaxCost uint64

	program cel.Program
}

// CompileRule checks a rule, whose value must be of a type.
func CompileRule(source string, s Scope, returns *cel.Type) (*Rule, error) {
	env, err := s.environment()
	if err != nil {
		return nil, fmt.Errorf("unexpected error loading CEL environment: %w", err)
	}
	ast, issues := env.Compile(source)
	if issues.Err() != nil {
		return nil, fmt.Errorf("compilation failed: %s", issues)
	}
	if !ast.OutputType().IsExactType(returns) {
		return nil, fmt.Errorf("cel expression must evaluate to a %v", returns)
	}
	r := &Rule{}
	for _, reference := range ast.NativeRep().ReferenceMap() {
		r.UsesOld = r.UsesOld || reference.Name == oldSelfName
	}
	estimate, err := env.EstimateCost(ast, estimator{s.Sizes})
	if err != nil {
		return nil, fmt.Errorf("cost estimation failed: %w", err)
	}
	r.MaxCost = estimate.Max
	r.program, err = env.Program(ast,
		limited(perCallLimit)...)
	if err != nil {
		return nil, fmt.Errorf("program instantiation failed: %w", err)
	}
	return r, nil
}

func (s Scope) environment() (*cel.Env, error) {
	env, err := base()
	if err != nil {
		return nil, err
	}
	known := make(map[string]fields, len(s.Types))
	for name, t := range s.Types {
		known[name] = t
	}
	old := s.Self
	if s.OptionalOld {
		old = types.NewOptionalType(s.Self)
	}
	return env.Extend(
		cel.CustomTypeProvider(&structs{Provider: env.CELTypeProvider(), types: known}),
		cel.Variable(selfName, s.Self), cel.Variable(oldSelfName, old),
	)
}

// Evaluate returns the rule's value and takes its cost from the budget. old is
// nil where there is no value that self replaces.
func (r *Rule) Evaluate(ctx context.Context, self, old any, budget *Budget) (ref.Val, error) {
	in := map[string]any{selfName: self}
	if old != nil {
		in[oldSelfName] = old
	}
	value, details, err := r.program.ContextEval(ctx, in)
	if details == nil || details.ActualCost() == nil {
		*budget = -1
		return nil, ErrOutOfBudget
	}
	*budget -= Budget(min(*details.ActualCost(), uint64(RulesBudget)+1))
	if *budget < 0 {
		return nil, ErrOutOfBudget
	}
	return value, err
}
