package expression

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/cel-go/cel"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
)

// Conditions say which of the requests that match a webhook or policy are for
// it.
type Conditions []Checked

// Checked is an expression that was compiled. One that has been stored, and is
// none any longer, fails when it is used.
type Checked struct {
	program *Program
	err     error
}

// Check compiles an expression.
func Check(source string, d Declarations, returns ...*cel.Type) Checked {
	program, err := Compile(source, d, returns...)
	return Checked{program, err}
}

// Evaluate is that of the expression's Program.
func (c Checked) Evaluate(ctx context.Context, in *Inputs, budget *Budget) (value any, err error) {
	if c.err != nil {
		return nil, fmt.Errorf("compilation error: %w", c.err)
	}
	v, err := c.program.Evaluate(ctx, in, budget)
	if err != nil {
		return nil, err
	}
	return v.Value(), nil
}

// Native is Evaluate for a value that is to be written to an object.
func (c Checked) Native(ctx context.Context, in *Inputs, budget *Budget) (any, error) {
	if c.err != nil {
		return nil, fmt.Errorf("compilation error: %w", c.err)
	}
	v, err := c.program.Evaluate(ctx, in, budget)
	if err != nil {
		return nil, err
	}
	return Native(v)
}

// NewConditions compiles conditions.
func NewConditions(conditions []admissionv1.MatchCondition, d Declarations) Conditions {
	var out Conditions
	for i := range conditions {
		out = append(out, Check(strings.TrimSpace(conditions[i].Expression), d, cel.BoolType))
	}
	return out
}

// Match says whether all conditions are true. One that is false decides, even if
// others fail.
func (c Conditions) Match(ctx context.Context, in *Inputs) (bool, error) {
	budget := ConditionsBudget
	var failed []error
	for _, condition := range c {
		value, err := condition.Evaluate(ctx, in, &budget)
		if err != nil {
			failed = append(failed, err)
			if budget < 0 {
				break
			}
			continue
		}
		if value != true {
			return false, nil
		}
	}
	return true, utilerrors.NewAggregate(failed)
}
