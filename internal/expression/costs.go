package expression

import (
	"math"

	"github.com/google/cel-go/common"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

const (
	// authorizationCost is what asking the authorizer costs: it may look at
	// every role.
	authorizationCost = 350_000
	// perByte and perPatternByte are what looking at text costs.
	perByte, perPatternByte = common.StringTraversalCostFactor, common.RegexStringLengthCostFactor
	// formatPattern is taken for the length of a named format's pattern.
	formatPattern = 128
	// addressLength is the most bytes of an address.
	addressLength = 16
)

// costs says what functions cost in an evaluation, in the units of CEL, in which
// one step costs 1. They are those of Kubernetes, as far as CEL does not say so
// itself.
type costs struct{}

// CallCost implements interpreter.ActualCostEstimator; nil leaves it to CEL.
func (costs) CallCost(function, _ string, args []ref.Val, result ref.Val) *uint64 {
	cost, ok := callCost(function, args, result)
	if !ok {
		return nil
	}
	return &cost
}

func callCost(function string, args []ref.Val, result ref.Val) (cost uint64, ok bool) {
	if function == "check" {
		return authorizationCost, true
	}
	if cheap[function] {
		return 1, true
	}
	if len(args) == 0 {
		return 0, false
	}
	if len(args) > 1 {
		if cost, ok := pairCost(function, args); ok {
			return cost, true
		}
	}
	switch function {
	case "isSorted", "sum", "max", "min", "indexOf", "lastIndexOf":
		return traversal(args[0]), true
	case "url", "lowerAscii", "upperAscii", "substring", "trim", "jsonpatch.escapeKey",
		"isIP", "cidr", "isCIDR", "quantity", "isQuantity", "semver", "isSemver":
		return scan(size(args[0]), perByte), true
	case "ip":
		if args[0].Type() == cidrType {
			return 1, true // it has been read
		}
		return scan(size(args[0]), perByte), true
	case "replace", "split", "ip.isCanonical":
		return scan(size(args[0]), 2*perByte), true // read, and written or compared
	case "join":
		return scan(size(result), 2*perByte), true
	}
	return 0, false
}

// pairCost is callCost for functions whose second argument counts.
func pairCost(function string, args []ref.Val) (cost uint64, ok bool) {
	first, second := size(args[0]), size(args[1])
	given := uint64(0) // what reading the second costs, if it is a text
	if _, text := args[1].(types.String); text {
		given = scan(second, perByte)
	}
	switch function {
	case "fieldSelector", "labelSelector":
		return selectorCost(fixedSize(second)).Max, true
	case "find", "findAll":
		return scan(first+1, perByte) * scan(second, perPatternByte), true
	case "validate":
		return scan(second+1, perByte) * scan(formatPattern, perPatternByte), true
	case "containsIP":
		return scan(2*addressLength, perByte) + given, true
	case "containsCIDR":
		return scan(2*addressLength, perByte) + scan(addressLength, perByte) + 1 + given, true
	case "_==_":
		return 1, comparedAtOnce[args[0].Type().TypeName()]
	}
	return 0, false
}

// cheap are the functions that take a value from where it is.
var cheap = setOf(
	"serviceAccount", "path", "group", "resource", "subresource", "namespace", "name", "allowed", "reason", "error", "errored",
	"masked", "prefixLength", "family", "isUnspecified", "isLoopback", "isLinkLocalMulticast", "isLinkLocalUnicast", "isGlobalUnicast",
	"format.named", "sign", "asInteger", "isInteger", "asApproximateFloat", "isGreaterThan", "isLessThan", "compareTo", "add", "sub",
	"major", "minor", "patch", "getScheme", "getHostname", "getHost", "getPort", "getEscapedPath", "getQuery",
)

// comparedAtOnce are the types of this package whose values are compared in one
// step.
var comparedAtOnce = setOf(
	quantityType.TypeName(), ipType.TypeName(), cidrType.TypeName(), semverType.TypeName(), urlType.TypeName(), formatType.TypeName(),
	authorizerType.TypeName(), pathCheckType.TypeName(), groupCheckType.TypeName(), resourceCheckType.TypeName(), decisionType.TypeName(),
)

func setOf(names ...string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, n := range names {
		set[n] = true
	}
	return set
}

// scan is the cost of looking at all of a size.
func scan(size uint64, each float64) uint64 { return uint64(math.Ceil(float64(size) * each)) }

// traversal is the cost of looking at all that a value holds.
func traversal(v ref.Val) uint64 {
	var cost uint64
	switch v := v.(type) {
	case types.String:
		return uint64(float64(len(v)) * perByte)
	case types.Bytes:
		return uint64(float64(len(v)) * perByte)
	case traits.Lister:
		for it := v.Iterator(); it.HasNext() == types.True; {
			cost += traversal(it.Next())
		}
		return cost
	case traits.Mapper:
		for it := v.Iterator(); it.HasNext() == types.True; {
			key := it.Next()
			cost += traversal(key) + traversal(v.Get(key))
		}
		return cost
	}
	return 1
}

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
