package expression

import (
	"math"

	"github.com/google/cel-go/checker"
	"github.com/google/cel-go/common"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
)

// Sizes says how large what a path of names leads to can be: the characters of a
// string, the items of a list or map; the first name is a variable's. "@items",
// "@keys" and "@values" lead into lists and maps. False says that it is not known.
type Sizes func(path []string) (largest uint64, known bool)

// estimator says beforehand what expressions can cost at most. Which rules and
// selectors users may store depends on it, so it charges what Kubernetes does.
type estimator struct{ sizes Sizes }

// EstimateSize implements checker.CostEstimator.
func (e estimator) EstimateSize(node checker.AstNode) *checker.SizeEstimate {
	if e.sizes == nil || len(node.Path()) == 0 {
		return nil
	}
	largest, known := e.sizes(node.Path())
	if !known {
		return nil
	}
	return &checker.SizeEstimate{Max: largest}
}

// EstimateCallCost implements checker.CostEstimator; nil leaves it to CEL.
func (e estimator) EstimateCallCost(function, _ string, target *checker.AstNode, args []checker.AstNode) *checker.CallEstimate {
	switch {
	case function == "check":
		return fixed(authorizationCost)
	case cheap[function]:
		return fixed(1)
	case target != nil:
		return e.methodCost(function, *target, args)
	}
	return e.functionCost(function, args)
}

// functionCost estimates a call of a function.
func (e estimator) functionCost(function string, args []checker.AstNode) *checker.CallEstimate {
	switch {
	case len(args) == 0:
		return nil
	case function == "_==_" && len(args) == 2:
		return equalityCost(args[0], args[1])
	}
	size := e.sizeOf(args[0])
	switch function {
	case "url", "jsonpatch.escapeKey":
		return &checker.CallEstimate{CostEstimate: size.MultiplyByCostFactor(perByte), ResultSize: &size}
	case "ip", "isIP", "cidr", "isCIDR", "quantity", "isQuantity", "semver", "isSemver":
		return costing(size.MultiplyByCostFactor(perByte))
	case "ip.isCanonical":
		return costing(size.MultiplyByCostFactor(2 * perByte))
	}
	return nil
}

// methodCost estimates a call of a function that is written after its first
// argument.
func (e estimator) methodCost(function string, target checker.AstNode, args []checker.AstNode) *checker.CallEstimate {
	size := e.sizeOf(target)
	switch function {
	case "isSorted", "sum", "max", "min", "indexOf", "lastIndexOf":
		return costing(e.searchCost(target, size))
	case "lowerAscii", "upperAscii", "substring", "trim":
		return &checker.CallEstimate{CostEstimate: size.MultiplyByCostFactor(perByte), ResultSize: &size}
	case "split":
		return e.splitCost(size, args)
	case "join":
		return e.joinCost(target, size, args)
	case "ip": // of a range
		return fixed(1)
	}
	if len(args) == 0 {
		return nil
	}
	first := e.sizeOf(args[0])
	switch function {
	case "replace":
		if len(args) < 2 {
			return nil
		}
		result := replaced(size, first, e.sizeOf(args[1]))
		return &checker.CallEstimate{CostEstimate: size.MultiplyByCostFactor(2 * perByte), ResultSize: &result}
	case "fieldSelector", "labelSelector":
		return costing(selectorCost(first))
	case "find", "findAll":
		text := size.Add(fixedSize(1)).MultiplyByCostFactor(perByte)
		return &checker.CallEstimate{CostEstimate: text.Multiply(first.MultiplyByCostFactor(perPatternByte)), ResultSize: &checker.SizeEstimate{Max: size.Max}}
	case "validate":
		return costing(first.MultiplyByCostFactor(perByte).MultiplyByCostFactor(formatPattern * perPatternByte))
	case "containsIP", "containsCIDR":
		return costing(e.withinCost(function, args[0]))
	}
	return nil
}

// searchCost is that of looking at each item of a list, or at a text.
func (e estimator) searchCost(target checker.AstNode, size checker.SizeEstimate) checker.CostEstimate {
	item := itemOf(target)
	if item == nil {
		return size.MultiplyByCostFactor(perByte)
	}
	each := checker.FixedCostEstimate(1)
	if kind := item.Type().Kind(); kind == types.StringKind || kind == types.BytesKind {
		each = each.Add(e.sizeOf(item).MultiplyByCostFactor(perByte))
	}
	return size.MultiplyByCost(each)
}

// splitCost: at most each character of the text becomes an item, unless the call
// says how many there may be.
func (e estimator) splitCost(size checker.SizeEstimate, args []checker.AstNode) *checker.CallEstimate {
	most := size.Max
	if len(args) > 1 {
		if literal := args[1].Expr().AsLiteral(); literal != nil {
			if n, ok := literal.Value().(int64); ok {
				most = uint64(n)
			}
		}
	}
	return &checker.CallEstimate{CostEstimate: size.MultiplyByCostFactor(2 * perByte), ResultSize: &checker.SizeEstimate{Max: most}}
}

// joinCost is that of all items and what stands between them.
func (e estimator) joinCost(list checker.AstNode, size checker.SizeEstimate, args []checker.AstNode) *checker.CallEstimate {
	var result checker.SizeEstimate
	if item := itemOf(list); item != nil {
		result = size.Multiply(e.sizeOf(item))
	}
	if len(args) > 0 {
		between := checker.SizeEstimate{Min: max(size.Min, 1) - 1, Max: max(size.Max, 1) - 1}
		result = result.Add(e.sizeOf(args[0]).Multiply(between))
	}
	return &checker.CallEstimate{CostEstimate: result.MultiplyByCostFactor(perByte), ResultSize: &result}
}

// withinCost is that of asking whether an address or a range is within a range:
// what is given as a text is read before.
func (e estimator) withinCost(function string, given checker.AstNode) checker.CostEstimate {
	address := checker.SizeEstimate{Min: 4, Max: addressLength}
	cost := address.Add(address).MultiplyByCostFactor(perByte)
	if function == "containsCIDR" {
		cost = cost.Add(address.MultiplyByCostFactor(perByte)).Add(checker.FixedCostEstimate(1))
	}
	if given.Type().Kind() == types.StringKind {
		cost = cost.Add(e.sizeOf(given).MultiplyByCostFactor(perByte))
	}
	return cost
}

// replaced is the size of a text in which another is replaced by a third.
func replaced(text, from, to checker.SizeEstimate) checker.SizeEstimate {
	var times, kept checker.SizeEstimate
	switch {
	case from.Min == 0: // before each character and after the last
		times.Max, kept.Max = plusOne(text.Max), text.Max
	case to.Max <= from.Min: // it gets no longer
		kept.Max = text.Max
	default:
		times.Max = uint64(math.Ceil(float64(text.Max) / float64(from.Min)))
	}
	switch {
	case from.Max == 0:
		times.Min, kept.Min = plusOne(text.Min), text.Min
	case from.Max <= to.Min: // it gets no shorter
		kept.Min = text.Min
	default:
		times.Min = uint64(math.Ceil(float64(text.Min) / float64(from.Max)))
	}
	return times.Multiply(to).Add(kept)
}

func plusOne(n uint64) uint64 {
	if n == math.MaxUint64 {
		return n
	}
	return n + 1
}

// selectorCost is that of reading a selector: of its text, and of a requirement
// for every two characters.
func selectorCost(length checker.SizeEstimate) checker.CostEstimate {
	requirements := length.MultiplyByCostFactor(0.5).MultiplyByCostFactor(common.ListCreateBaseCost + common.StructCreateBaseCost)
	return checker.FixedCostEstimate(common.ListCreateBaseCost).Add(length.MultiplyByCostFactor(perByte)).Add(requirements)
}

// equalityCost is that of comparing two values of this package's types; nil
// leaves others to CEL.
func equalityCost(a, b checker.AstNode) *checker.CallEstimate {
	if a.Type().Equal(b.Type()) != types.True || !comparedAtOnce[a.Type().TypeName()] {
		return nil
	}
	switch a.Type() {
	case formatType:
		return costing(checker.CostEstimate{Min: 1, Max: 64}.MultiplyByCostFactor(perByte))
	case urlType:
		longest := uint64(1)
		if size := b.ComputedSize(); size != nil && a.ComputedSize() != nil {
			longest = size.Max
		}
		return costing(checker.CostEstimate{Min: 1, Max: longest}.MultiplyByCostFactor(perByte))
	}
	return fixed(1)
}

func (e estimator) sizeOf(node checker.AstNode) checker.SizeEstimate {
	if size := node.ComputedSize(); size != nil {
		return *size
	}
	if size := e.EstimateSize(node); size != nil {
		return *size
	}
	return checker.SizeEstimate{Max: math.MaxUint64}
}

func costing(cost checker.CostEstimate) *checker.CallEstimate {
	return &checker.CallEstimate{CostEstimate: cost}
}

func fixed(cost uint64) *checker.CallEstimate { return costing(checker.FixedCostEstimate(cost)) }

func fixedSize(n uint64) checker.SizeEstimate { return checker.SizeEstimate{Min: n, Max: n} }

// itemOf returns the items of a list as a node; nil for what is no list.
func itemOf(list checker.AstNode) checker.AstNode {
	parameters := list.Type().Parameters()
	if len(parameters) == 0 {
		return nil
	}
	item := itemNode{t: parameters[0]}
	if path := list.Path(); path != nil {
		item.path = append(append(item.path, path...), "@items")
	}
	return item
}

// itemNode is any item of a list.
type itemNode struct {
	path []string
	t    *types.Type
}

func (n itemNode) Path() []string                      { return n.path }
func (n itemNode) Type() *types.Type                   { return n.t }
func (n itemNode) Expr() ast.Expr                      { return nil }
func (n itemNode) ComputedSize() *checker.SizeEstimate { return nil }
