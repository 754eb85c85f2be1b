package expression

import (
	"errors"

	"github.com/blang/semver/v4"
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"k8s.io/apimachinery/pkg/api/resource"

	"navarch.dev/navarch/internal/quantities"
)

var (
	quantityType = cel.ObjectType("kubernetes.Quantity")
	semverType   = cel.ObjectType("kubernetes.Semver")
)

func newQuantity(q resource.Quantity) ref.Val {
	return &opaque{value: &q, t: quantityType, equal: func(a, b any) bool {
		return a.(*resource.Quantity).Cmp(*b.(*resource.Quantity)) == 0
	}}
}

type quantity = *resource.Quantity

// quantityFunctions read, compare and add up resource quantities.
func quantityFunctions() []overload {
	compares := func(name string, result *cel.Type, call func(order int) ref.Val) overload {
		return method(name, result, of2(func(a, b quantity) ref.Val { return call(a.Cmp(*b)) }), quantityType, quantityType)
	}
	add := func(sign int64) func(a quantity, b quantity) ref.Val {
		return func(a, b quantity) ref.Val {
			sum := a.DeepCopy()
			if sign < 0 {
				sum.Sub(*b)
			} else {
				sum.Add(*b)
			}
			return newQuantity(sum)
		}
	}
	addNumber := func(sign int64) func(a quantity, b int64) ref.Val {
		return func(a quantity, b int64) ref.Val {
			return add(sign)(a, resource.NewQuantity(b, resource.DecimalExponent))
		}
	}
	return []overload{
		test("isQuantity", quantities.Parse),
		function("quantity", quantityType, of1(func(s string) ref.Val {
			q, err := quantities.Parse(s)
			if err != nil {
				return types.WrapErr(err)
			}
			return newQuantity(q)
		}), cel.StringType),
		method("sign", cel.IntType, of1(func(q quantity) ref.Val { return types.Int(q.Sign()) }), quantityType),
		method("isInteger", cel.BoolType, of1(func(q quantity) ref.Val {
			_, ok := q.AsInt64()
			return types.Bool(ok)
		}), quantityType),
		method("asInteger", cel.IntType, of1(func(q quantity) ref.Val {
			n, ok := q.AsInt64()
			if !ok {
				return types.WrapErr(errors.New("cannot convert value to integer"))
			}
			return types.Int(n)
		}), quantityType),
		method("asApproximateFloat", cel.DoubleType, of1(func(q quantity) ref.Val { return types.Double(q.AsApproximateFloat64()) }), quantityType),
		method("add", quantityType, of2(add(1)), quantityType, quantityType),
		method("add", quantityType, of2(addNumber(1)), quantityType, cel.IntType),
		method("sub", quantityType, of2(add(-1)), quantityType, quantityType),
		method("sub", quantityType, of2(addNumber(-1)), quantityType, cel.IntType),
		compares("isLessThan", cel.BoolType, func(order int) ref.Val { return types.Bool(order < 0) }),
		compares("isGreaterThan", cel.BoolType, func(order int) ref.Val { return types.Bool(order > 0) }),
		compares("compareTo", cel.IntType, func(order int) ref.Val { return types.Int(order) }),
	}
}

func newSemver(v semver.Version) ref.Val {
	return &opaque{value: &v, t: semverType, equal: func(a, b any) bool {
		return a.(*semver.Version).Equals(*b.(*semver.Version))
	}}
}

type version = *semver.Version

// semverFunctions read and compare semantic versions. normalize lets versions be
// less than exact: a leading v, leading zeros, missing parts.
func semverFunctions() []overload {
	read := func(s string, normalize bool) (semver.Version, error) {
		if normalize {
			return semver.ParseTolerant(s)
		}
		return semver.Parse(s)
	}
	parse := func(s string, normalize bool) ref.Val {
		v, err := read(s, normalize)
		if err != nil {
			return types.WrapErr(err)
		}
		return newSemver(v)
	}
	is := func(s string, normalize bool) ref.Val {
		_, err := read(s, normalize)
		return types.Bool(err == nil)
	}
	part := func(name string, get func(version) uint64) overload {
		return method(name, cel.IntType, of1(func(v version) ref.Val { return types.Int(get(v)) }), semverType)
	}
	compares := func(name string, result *cel.Type, call func(order int) ref.Val) overload {
		return method(name, result, of2(func(a, b version) ref.Val { return call(a.Compare(*b)) }), semverType, semverType)
	}
	return []overload{
		function("semver", semverType, of1(func(s string) ref.Val { return parse(s, false) }), cel.StringType),
		function("semver", semverType, of2(parse), cel.StringType, cel.BoolType),
		function("isSemver", cel.BoolType, of1(func(s string) ref.Val { return is(s, false) }), cel.StringType),
		function("isSemver", cel.BoolType, of2(is), cel.StringType, cel.BoolType),
		part("major", func(v version) uint64 { return v.Major }),
		part("minor", func(v version) uint64 { return v.Minor }),
		part("patch", func(v version) uint64 { return v.Patch }),
		compares("isLessThan", cel.BoolType, func(order int) ref.Val { return types.Bool(order < 0) }),
		compares("isGreaterThan", cel.BoolType, func(order int) ref.Val { return types.Bool(order > 0) }),
		compares("compareTo", cel.IntType, func(order int) ref.Val { return types.Int(order) }),
	}
}
