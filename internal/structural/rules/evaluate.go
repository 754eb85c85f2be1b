package rules

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/expression"
)

// maxMessage is the most characters of what a message's expression says.
const maxMessage = 5 << 10

// None says that there is no rule.
func (r *Rules) None() bool { return r == nil || r.root == nil }

// Validate returns the rules that an object breaks. old is what it was before,
// nil for a new one: what breaks a rule and has not changed is not held against
// a change, unless the rule looks at what was before.
func (r *Rules) Validate(ctx context.Context, obj, old map[string]any) field.ErrorList {
	if r.None() {
		return nil
	}
	e := &evaluation{ctx: ctx, budget: expression.RulesBudget}
	was := before{}
	if old != nil {
		was = before{value: old, known: true}
	}
	e.node(r.root, obj, was, nil)
	return e.errs
}

// evaluation is that of all rules for one object.
type evaluation struct {
	ctx    context.Context //nolint:containedctx // that of the request being judged
	budget expression.Budget
	errs   field.ErrorList
	over   bool
}

// before is what a value was before a change.
type before struct {
	value any
	// known says that the value can be told to be the same one.
	known bool
	// same says that what holds the value, as far as that can be told, has not
	// changed.
	same bool
}

func (b before) unchanged(now any) bool {
	if b.known {
		return equality.Semantic.DeepEqual(now, b.value)
	}
	return b.same
}

// part returns what a part of the value was, if that can be told.
func (b before) part(now, was any, known bool) before {
	if !b.known {
		return before{same: b.same}
	}
	if !known {
		return before{same: b.unchanged(now)}
	}
	return before{value: was, known: true}
}

func (e *evaluation) node(n *node, now any, was before, at *field.Path) {
	if n == nil || now == nil || e.over {
		return
	}
	e.rules(n, now, was, at)
	switch now := now.(type) {
	case map[string]any:
		old, _ := was.value.(map[string]any)
		keeps := n.schema.Props.XMapType == nil || *n.schema.Props.XMapType != "atomic"
		for name, value := range now {
			before, had := old[name]
			part := was.part(now, before, keeps && had)
			if child := n.properties[name]; child != nil {
				e.node(child, value, part, at.Child(name))
			} else {
				e.node(n.values, value, part, at.Key(name))
			}
		}
	case []any:
		old, _ := was.value.([]any)
		for i, item := range now {
			before, had := n.schema.SameItem(old, item)
			e.node(n.items, item, was.part(now, before, had), at.Index(i))
		}
	}
}

func (e *evaluation) rules(n *node, now any, was before, at *field.Path) {
	if len(n.rules) == 0 {
		return
	}
	self := valueOf(now, n.schema, n.whole)
	var old ref.Val
	if was.known && was.value != nil {
		old = valueOf(was.value, n.schema, n.whole)
	}
	for i := range n.rules {
		if !e.over {
			e.rule(n, &n.rules[i], now, self, old, was, at)
		}
	}
}

func (e *evaluation) rule(n *node, r *compiled, now any, self, old ref.Val, was before, at *field.Path) {
	optional := r.OptionalOldSelf != nil && *r.OptionalOldSelf
	given := any(nil)
	switch {
	case optional && old != nil:
		given = types.OptionalOf(old)
	case optional:
		given = types.OptionalNone
	case old != nil:
		given = old
	case r.rule.UsesOld:
		return // there is nothing to compare with
	}
	value, err := r.rule.Evaluate(e.ctx, self, given, &e.budget)
	switch {
	case err != nil:
		e.failed(n, r, err, at)
	case value != types.True:
		if r.rule.UsesOld || !was.unchanged(now) {
			e.errs = append(e.errs, e.broken(r, now, self, given, at))
		}
	}
}

// failed notes that a rule could not be evaluated. What cost too much ends the
// evaluation.
func (e *evaluation) failed(n *node, r *compiled, err error, at *field.Path) {
	text := err.Error()
	switch {
	case errors.Is(err, expression.ErrOutOfBudget):
		e.over = true
	case strings.HasPrefix(text, "operation cancelled: actual cost limit exceeded"):
		text = fmt.Sprintf("'%s': no further validation rules will be run due to call cost exceeds limit for rule: %s", text, r.name())
		e.over = true
	case strings.HasPrefix(text, "no such overload"):
		text = fmt.Sprintf("'%s': call arguments did not match a supported operator, function or macro signature for rule: %s", text, r.name())
	default:
		text = fmt.Sprintf("%s evaluating rule: %s", text, r.name())
	}
	e.errs = append(e.errs, field.Invalid(at, n.schema.Props.Type, text))
}

// name is how a rule is called in errors.
func (r *compiled) name() string {
	if r.Message != "" {
		return strings.TrimSpace(r.Message)
	}
	return strings.TrimSpace(r.Rule)
}

// broken is the error of a broken rule.
func (e *evaluation) broken(r *compiled, now any, self ref.Val, old any, at *field.Path) *field.Error {
	for i, name := range r.path {
		if i == 0 && at == nil {
			at = field.NewPath(name)
			continue
		}
		at = at.Child(name)
	}
	detail := "failed rule: " + r.name()
	if r.Message != "" {
		detail = r.name()
	}
	if text, ok := e.message(r, self, old); ok {
		detail = text
	}
	var value any = field.OmitValueType{}
	if v := shown(now); v != nil {
		value = v
	}
	if r.Reason == nil {
		return field.Invalid(at, value, detail)
	}
	switch *r.Reason {
	case apiextensionsv1.FieldValueRequired:
		return field.Required(at, detail)
	case apiextensionsv1.FieldValueForbidden:
		return field.Forbidden(at, detail)
	case apiextensionsv1.FieldValueDuplicate:
		return field.Duplicate(at, value)
	}
	return field.Invalid(at, value, detail)
}

// message returns what a rule's expression says of it being broken; false if that
// is nothing, or cannot be evaluated.
func (e *evaluation) message(r *compiled, self ref.Val, old any) (string, bool) {
	if r.message == nil {
		return "", false
	}
	value, err := r.message.Evaluate(e.ctx, self, old, &e.budget)
	if err != nil {
		e.over = e.over || errors.Is(err, expression.ErrOutOfBudget)
		return "", false
	}
	text, ok := value.Value().(string)
	text = strings.TrimSpace(text)
	return text, ok && text != "" && len(text) <= maxMessage && !strings.Contains(text, "\n")
}
