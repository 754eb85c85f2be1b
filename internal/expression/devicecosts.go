package expression

import (
	"math"

	"github.com/google/cel-go/checker"
	resourcev1 "k8s.io/api/resource/v1"
)

// deviceCosts estimates the highest cost of an expression about a device from
// what a device can hold at most.
type deviceCosts struct{}

// EstimateSize implements checker.CostEstimator.
func (deviceCosts) EstimateSize(node checker.AstNode) *checker.SizeEstimate {
	path := node.Path()
	if len(path) < 2 || path[0] != "device" {
		return nil
	}
	most := func(n uint64) *checker.SizeEstimate { return &checker.SizeEstimate{Max: n} }
	switch part, depth := path[1], len(path)-2; {
	case part == "driver" && depth == 0:
		return most(resourcev1.DriverNameMaxLength)
	case part == "allowMultipleAllocations" && depth == 0:
		return most(1)
	case part != "attributes" && part != "capacity":
		return nil
	case path[len(path)-1] == "@keys" && depth == 1:
		return most(resourcev1.DeviceMaxDomainLength)
	case path[len(path)-1] == "@keys" && depth == 2:
		return most(resourcev1.DeviceMaxIDLength)
	case depth < 2: // the domains, and what is in one
		return most(resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice)
	case part == "attributes" && depth == 2:
		return most(resourcev1.DeviceAttributeMaxValueLength)
	}
	return nil
}

// EstimateCallCost implements checker.CostEstimator; nil leaves it to CEL. It
// says of functions what costs says of their calls.
func (d deviceCosts) EstimateCallCost(function, _ string, target *checker.AstNode, args []checker.AstNode) *checker.CallEstimate {
	operands := args
	if target != nil {
		operands = append([]checker.AstNode{*target}, args...)
	}
	arg := func(i int) float64 {
		if i >= len(operands) {
			return 0
		}
		return d.most(operands[i])
	}
	scan := func(i int) float64 { return math.Ceil(arg(i) * perByte) }
	var cost float64
	switch function {
	case "isSorted", "sum", "max", "min", "indexOf", "lastIndexOf":
		cost = 1 + arg(0)
	case "find", "findAll":
		cost = math.Ceil((1+arg(0))*perByte) * max(1, math.Ceil(arg(1)*perPatternByte))
	case "url", "isURL", "quantity", "isQuantity", "ip", "isIP", "cidr", "isCIDR", "ip.isCanonical", "semver", "isSemver":
		cost = scan(0)
	case "containsIP", "containsCIDR", "validate":
		cost = 1 + scan(1)
	default:
		return nil
	}
	return &checker.CallEstimate{CostEstimate: checker.CostEstimate{Max: saturate(cost)}}
}

// most is the largest size that a node's value can have.
func (d deviceCosts) most(node checker.AstNode) float64 {
	if size := node.ComputedSize(); size != nil {
		return float64(size.Max)
	}
	if size := d.EstimateSize(node); size != nil {
		return float64(size.Max)
	}
	return math.MaxUint64
}

func saturate(cost float64) uint64 {
	if cost >= math.MaxInt64 {
		return math.MaxUint64
	}
	return uint64(cost)
}
