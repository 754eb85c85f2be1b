package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/expression"
)

// failed returns the finding that an expression could not be evaluated, nothing
// if failures are to be ignored.
func (p *policy[P]) failed(err error) []finding {
	if p.ignore {
		return nil
	}
	return []finding{{reason: metav1.StatusReasonInvalid, message: err.Error()}}
}

// matches says whether a policy's conditions let it apply to a request.
func (p *policy[P]) matches(ctx context.Context, in *expression.Inputs) (bool, error) {
	matched, err := p.conditions.Match(ctx, in)
	if matched && err != nil && p.ignore {
		return false, nil
	}
	return matched, err
}

// judge returns what does not hold of a request that a policy is about, and adds
// to noted what the policy has to say to the audit log.
func judge(ctx context.Context, p *policy[validations], in *expression.Inputs, noted *notes) []finding {
	matched, err := p.matches(ctx, in)
	switch {
	case err != nil:
		return p.failed(err)
	case !matched:
		return nil
	}
	var found []finding
	budget := expression.PolicyBudget
	for i := range p.rules.each {
		one := &p.rules.each[i]
		holds, err := one.condition.Evaluate(ctx, in, &budget)
		switch {
		case errors.Is(err, expression.ErrOutOfBudget):
			return append(found, at(i, p.failed(err))...)
		case err != nil:
			found = append(found, at(i, p.failed(err))...)
		case holds != true:
			reason := metav1.StatusReasonInvalid
			if one.Reason != nil {
				reason = *one.Reason
			}
			found = append(found, finding{reason: reason, message: one.explain(ctx, in, &budget), index: i})
		}
	}
	return append(found, annotate(ctx, p, in, noted)...)
}

// explain returns the message of a validation that does not hold.
func (v *validation) explain(ctx context.Context, in *expression.Inputs, budget *expression.Budget) string {
	if v.message != nil {
		value, err := v.message.Evaluate(ctx, in, budget)
		if errors.Is(err, expression.ErrOutOfBudget) {
			return fmt.Sprintf("failed messageExpression: %s", err)
		}
		text, _ := value.(string)
		if text = strings.TrimSpace(text); text != "" && len(text) <= maxMessage && !strings.Contains(text, "\n") {
			return text
		}
	}
	if v.Message != "" {
		return strings.TrimSpace(v.Message)
	}
	return "failed expression: " + strings.TrimSpace(v.Expression)
}

// at says which validation findings are of.
func at(index int, found []finding) []finding {
	for i := range found {
		found[i].index = index
	}
	return found
}

// annotate evaluates what is noted in the audit log. A failure refuses the
// request, whatever the binding says.
func annotate(ctx context.Context, p *policy[validations], in *expression.Inputs, noted *notes) []finding {
	budget := expression.PolicyBudget
	for i := range p.rules.annotations {
		one := &p.rules.annotations[i]
		value, err := one.value.Evaluate(ctx, in, &budget)
		if err != nil {
			found := p.failed(err)
			for i := range found {
				found[i].always = true
			}
			return found
		}
		if text, ok := value.(string); ok { // null is for nothing to say
			noted.take(one.key, text)
		}
	}
	return nil
}
