package expression

import (
	"math"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

const (
	// authorizationCost is what asking the authorizer costs: it may look at
	// every role.
	authorizationCost = 350_000
	// perByte and perPatternByte are what looking at text costs.
	perByte, perPatternByte = 0.1, 0.25
)

// costs says what the functions of this package cost, in the units of CEL, in
// which one step costs 1.
type costs struct{}

// CallCost implements interpreter.ActualCostEstimator; nil leaves it to CEL.
func (costs) CallCost(function, _ string, args []ref.Val, _ ref.Val) *uint64 {
	var cost uint64
	switch function {
	case "check":
		cost = authorizationCost
	case "isSorted", "sum", "max", "min", "indexOf", "lastIndexOf":
		cost = 1 + size(args[0])
	case "find", "findAll":
		text := math.Ceil(float64(1+size(args[0])) * perByte)
		cost = uint64(text * max(1, math.Ceil(float64(size(args[1]))*perPatternByte)))
	case "url", "isURL", "quantity", "isQuantity", "ip", "isIP", "cidr", "isCIDR", "ip.isCanonical", "semver", "isSemver":
		cost = scan(args[0])
	case "containsIP", "containsCIDR", "validate":
		cost = 1 + scan(args[1])
	default:
		return nil
	}
	return &cost
}

// scan is the cost of looking at every byte of a text.
func scan(text ref.Val) uint64 { return uint64(math.Ceil(float64(size(text)) * perByte)) }

func size(v ref.Val) uint64 {
	sized, ok := v.(traits.Sizer)
	if !ok {
		return 1
	}
	n, ok := sized.Size().(types.Int)
	if !ok || n < 0 {
		return 1
	}
	return uint64(n)
}
