// Package rules evaluates the rules of structural schemas:
// x-kubernetes-validations, in CEL. A rule is about the value of the node that
// it is written at, self, and in an update also about what that was before,
// oldSelf, where the two can be told to be the same: fields of objects, entries
// of maps, and items of lists that are known by their keys.
//
// What expressions cost is bounded three times: when a schema is written, by
// what each of them and all together can cost at most; and in each evaluation
// and for each object by what they do cost.
package rules

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/expression"
	"navarch.dev/navarch/internal/structural"
)

const (
	// maxRuleCost and maxTotalCost are what a rule, and all rules of a schema,
	// can cost at most.
	maxRuleCost, maxTotalCost = 10_000_000, 100_000_000
)

// Rules are those of a schema, compiled.
type Rules struct{ root *node }

// node is a node of the schema that has rules, or below which one has.
type node struct {
	schema     *structural.Schema
	whole      bool
	rules      []compiled
	properties map[string]*node
	items      *node
	values     *node
}

type compiled struct {
	*apiextensionsv1.ValidationRule
	rule    *expression.Rule
	message *expression.Rule
	path    []string
}

// New compiles the rules of a schema. Those that cannot be compiled, which may be
// there from before, are errors when they are evaluated.
func New(s *structural.Schema) (*Rules, field.ErrorList) {
	c := &compiler{declared: declare(s)}
	root := c.node(s, position{at: field.NewPath(""), cardinality: 1, whole: true})
	return &Rules{root: root}, c.errs
}

// Check returns what is wrong with the rules of a schema.
func Check(s *structural.Schema, at *field.Path) field.ErrorList {
	c := &compiler{declared: declare(s)}
	c.node(s, position{at: at, cardinality: 1, whole: true})
	if c.total > maxTotalCost {
		for _, e := range c.dearest() {
			c.errs = append(c.errs, field.Forbidden(e.at, "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"))
		}
		c.errs = append(c.errs, field.Forbidden(at, excess("x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema", c.total, maxTotalCost)))
	}
	return c.errs
}

type compiler struct {
	declared *declared
	errs     field.ErrorList
	total    uint64
	expenses []expense
}

// expense is what an expression can cost at most.
type expense struct {
	at   *field.Path
	cost uint64
}

// dearest returns the four expressions that cost most, of those that count.
func (c *compiler) dearest() []expense {
	counting := slices.DeleteFunc(slices.Clone(c.expenses), func(e expense) bool { return e.cost < maxTotalCost/100 })
	slices.SortStableFunc(counting, func(a, b expense) int { return cmp.Compare(b.cost, a.cost) })
	return counting[:min(4, len(counting))]
}

// position is where in a schema a node is.
type position struct {
	at *field.Path
	// cardinality is how many values of the node an object can have, unless it is
	// unbounded.
	cardinality uint64
	unbounded   bool
	whole       bool
	// loose is the node above whose values cannot be told to be the same before
	// and after a change; nil if there is none.
	loose *field.Path
}

// node compiles the rules of a node and of those below it; nil if there are
// none.
func (c *compiler) node(s *structural.Schema, p position) *node {
	n := &node{schema: s, whole: p.whole || s.Embedded}
	for i := range s.Props.XValidations {
		if r, ok := c.rule(s, &s.Props.XValidations[i], p, p.at.Child("x-kubernetes-validations").Index(i)); ok {
			n.rules = append(n.rules, r)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		below := position{at: p.at.Child("properties").Key(name), cardinality: p.cardinality, unbounded: p.unbounded, loose: p.loose}
		if s.Props.XMapType != nil && *s.Props.XMapType == "atomic" && below.loose == nil {
			below.loose = p.at
		}
		if child := c.node(s.Properties[name], below); child != nil {
			if n.properties == nil {
				n.properties = make(map[string]*node)
			}
			n.properties[name] = child
		}
	}
	if s.Items != nil {
		below := p.below(p.at.Child("items"), s.Props.MaxItems)
		if s.ListType() != "map" && below.loose == nil {
			below.loose = p.at
		}
		n.items = c.node(s.Items, below)
	}
	if s.Values != nil {
		n.values = c.node(s.Values, p.below(p.at.Child("additionalProperties"), s.Props.MaxProperties))
	}
	if len(n.rules) == 0 && n.properties == nil && n.items == nil && n.values == nil {
		return nil
	}
	return n
}

// below is the position of items or values, of which there are at most so many.
func (p position) below(at *field.Path, most *int64) position {
	b := position{at: at, unbounded: p.unbounded || most == nil, loose: p.loose}
	if !b.unbounded {
		b.cardinality = times(p.cardinality, bound(*most))
	}
	return b
}

// rule compiles one rule; false if it is empty or wrong.
func (c *compiler) rule(s *structural.Schema, r *apiextensionsv1.ValidationRule, p position, at *field.Path) (compiled, bool) {
	out := compiled{ValidationRule: r}
	self := c.declared.of[s]
	if strings.TrimSpace(r.Rule) == "" || self == nil {
		return out, false
	}
	scope := expression.Scope{
		Self: self, Types: c.declared.types, OptionalOld: r.OptionalOldSelf != nil && *r.OptionalOldSelf,
		Sizes: c.declared.sizes(s, p.whole),
	}
	var err error
	if out.rule, err = expression.CompileRule(r.Rule, scope, cel.BoolType); err != nil {
		c.errs = append(c.errs, field.Invalid(at.Child("rule"), r.Rule, err.Error()))
		return out, false
	}
	c.spend(times(out.rule.MaxCost, c.count(s, p)), at.Child("rule"), "estimated rule cost")
	if r.MessageExpression != "" {
		if out.message, err = expression.CompileRule(r.MessageExpression, scope, cel.StringType); err != nil {
			c.errs = append(c.errs, field.Invalid(at.Child("messageExpression"), r.MessageExpression, "messageExpression "+err.Error()))
		} else {
			c.spend(out.message.MaxCost, at.Child("messageExpression"), "estimated messageExpression cost")
		}
	}
	switch {
	case out.rule.UsesOld && p.loose != nil:
		c.errs = append(c.errs, field.Invalid(at.Child("rule"), r.Rule, fmt.Sprintf("oldSelf cannot be used on the uncorrelatable portion of the schema within %v", p.loose)))
	case !out.rule.UsesOld && r.OptionalOldSelf != nil:
		c.errs = append(c.errs, field.Invalid(at.Child("optionalOldSelf"), *r.OptionalOldSelf, "may not be set if oldSelf is not used in rule"))
	}
	out.path, _ = structural.ParsePath(r.FieldPath) // it is judged by itself
	return out, true
}

// count returns how often an object can hold what is at a node.
func (c *compiler) count(s *structural.Schema, p position) uint64 {
	if p.unbounded {
		return maxRequest / (c.declared.smallest(s) + 1) // a comma
	}
	return p.cardinality
}

// spend notes what an expression can cost for an object.
func (c *compiler) spend(cost uint64, at *field.Path, what string) {
	if cost > maxRuleCost {
		c.errs = append(c.errs, field.Forbidden(at, excess(what, cost, maxRuleCost)))
	}
	c.expenses = append(c.expenses, expense{at, cost})
	if c.total += cost; c.total < cost {
		c.total = math.MaxUint64
	}
}

func excess(what string, cost, limit uint64) string {
	by := float64(cost) / float64(limit)
	factor := fmt.Sprintf("%.1fx", by)
	switch {
	case by > 100:
		factor = "more than 100x"
	case by < 1.5:
		factor = fmt.Sprintf("%fx", by)
	}
	return fmt.Sprintf("%s exceeds budget by factor of %s (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)", what, factor)
}
