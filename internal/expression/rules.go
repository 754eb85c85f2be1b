package expression

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
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

// Sizes says how large what a path of names leads to can be: the characters of a
// string, the items of a list or map. "@items", "@keys" and "@values" lead into
// lists and maps. False says that it is not known.
type Sizes func(path []string) (largest uint64, known bool)

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
		cel.EvalOptions(cel.OptOptimize, cel.OptTrackCost), cel.CostTracking(costs{}), cel.CostLimit(perCallLimit),
		cel.InterruptCheckFrequency(checkFrequency))
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

// estimator says beforehand what expressions can cost.
type estimator struct{ sizes Sizes }

// EstimateSize implements checker.CostEstimator.
func (e estimator) EstimateSize(node checker.AstNode) *checker.SizeEstimate {
	if e.sizes == nil || len(node.Path()) == 0 {
		return nil
	}
	path := slices.Clone(node.Path())
	if path[0] != selfName && path[0] != oldSelfName {
		return nil
	}
	largest, known := e.sizes(path[1:])
	if !known {
		return nil
	}
	return &checker.SizeEstimate{Max: largest}
}

// EstimateCallCost implements checker.CostEstimator; nil leaves it to CEL.
func (e estimator) EstimateCallCost(function, _ string, target *checker.AstNode, args []checker.AstNode) *checker.CallEstimate {
	var on checker.AstNode
	switch {
	case target != nil:
		on = *target
	case len(args) > 0:
		on = args[0]
	default:
		return nil
	}
	size := e.sizeOf(on)
	switch function {
	case "isSorted", "sum", "max", "min", "indexOf", "lastIndexOf":
		return &checker.CallEstimate{CostEstimate: size.MultiplyByCostFactor(1).Add(checker.FixedCostEstimate(1))}
	case "find", "findAll":
		pattern := checker.FixedSizeEstimate(1)
		if len(args) > 0 {
			pattern = e.sizeOf(args[0])
		}
		text := size.Add(checker.FixedSizeEstimate(1)).MultiplyByCostFactor(perByte)
		return &checker.CallEstimate{CostEstimate: text.Multiply(pattern.Add(checker.FixedSizeEstimate(1)).MultiplyByCostFactor(perPatternByte))}
	case "url", "isURL", "quantity", "isQuantity", "ip", "isIP", "cidr", "isCIDR", "ip.isCanonical", "semver", "isSemver", "containsIP", "containsCIDR", "validate":
		return &checker.CallEstimate{CostEstimate: size.MultiplyByCostFactor(perByte).Add(checker.FixedCostEstimate(1))}
	}
	return nil
}

func (e estimator) sizeOf(node checker.AstNode) checker.SizeEstimate {
	if s := node.ComputedSize(); s != nil {
		return *s
	}
	if s := e.EstimateSize(node); s != nil {
		return *s
	}
	return checker.SizeEstimate{Max: 1 << 20}
}
