package expression

import (
	"regexp"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// listFunctions are isSorted, sum, min, max, indexOf and lastIndexOf of lists.
func listFunctions() []overload {
	item := cel.TypeParamType("T")
	list := cel.ListType(item)
	return []overload{
		method("isSorted", cel.BoolType, of(isSorted), list),
		method("sum", item, of(sum), list),
		method("min", item, of(func(l traits.Lister) ref.Val { return extreme(l, "min", types.IntNegOne) }), list),
		method("max", item, of(func(l traits.Lister) ref.Val { return extreme(l, "max", types.IntOne) }), list),
		method("indexOf", cel.IntType, indexOf(false), list, item),
		method("lastIndexOf", cel.IntType, indexOf(true), list, item),
	}
}

// of makes a function over a list.
func of(call func(traits.Lister) ref.Val) func(args ...ref.Val) ref.Val {
	return func(args ...ref.Val) ref.Val {
		list, ok := args[0].(traits.Lister)
		if !ok {
			return types.MaybeNoSuchOverloadErr(args[0])
		}
		return call(list)
	}
}

// compare returns -1, 0 or 1, or an error.
func compare(a, b ref.Val) ref.Val {
	c, ok := a.(traits.Comparer)
	if !ok {
		return types.MaybeNoSuchOverloadErr(a)
	}
	return c.Compare(b)
}

func isSorted(list traits.Lister) ref.Val {
	var before ref.Val
	for it := list.Iterator(); it.HasNext() == types.True; {
		next := it.Next()
		if before != nil {
			switch order := compare(before, next); {
			case types.IsUnknownOrError(order):
				return order
			case order == types.IntOne:
				return types.False
			}
		}
		before = next
	}
	return types.True
}

// sum adds the items up; nothing is 0.
func sum(list traits.Lister) ref.Val {
	var total ref.Val = types.IntZero
	first := true
	for it := list.Iterator(); it.HasNext() == types.True; first = false {
		next := it.Next()
		if first {
			if _, ok := next.(traits.Adder); !ok || next.Type() == types.StringType {
				return types.MaybeNoSuchOverloadErr(next)
			}
			total = next
			continue
		}
		total = total.(traits.Adder).Add(next)
		if types.IsUnknownOrError(total) {
			return total
		}
	}
	return total
}

// extreme returns the item that compares to all others as want says.
func extreme(list traits.Lister, name string, want types.Int) ref.Val {
	var found ref.Val
	for it := list.Iterator(); it.HasNext() == types.True; {
		next := it.Next()
		if found == nil {
			found = next
			continue
		}
		switch order := compare(next, found); {
		case types.IsUnknownOrError(order):
			return order
		case order == want:
			found = next
		}
	}
	if found == nil {
		return types.NewErr("%s called on empty list", name)
	}
	return found
}

func indexOf(last bool) func(args ...ref.Val) ref.Val {
	return func(args ...ref.Val) ref.Val {
		list, ok := args[0].(traits.Lister)
		if !ok {
			return types.MaybeNoSuchOverloadErr(args[0])
		}
		found := types.IntNegOne
		for i, size := types.Int(0), list.Size().(types.Int); i < size; i++ {
			if types.Equal(list.Get(i), args[1]) != types.True {
				continue
			}
			if found = i; !last {
				break
			}
		}
		return found
	}
}

// regexFunctions are find and findAll.
func regexFunctions() []overload {
	find := func(text, pattern string) ref.Val {
		re, err := regexp.Compile(pattern)
		if err != nil {
			return types.NewErr("Illegal regex: %v", err.Error())
		}
		return types.String(re.FindString(text))
	}
	findAll := func(args ...ref.Val) ref.Val {
		text, ok1 := args[0].Value().(string)
		pattern, ok2 := args[1].Value().(string)
		if !ok1 || !ok2 {
			return types.MaybeNoSuchOverloadErr(args[0])
		}
		limit := int64(-1)
		if len(args) == 3 {
			limit = args[2].Value().(int64)
		}
		re, err := regexp.Compile(pattern)
		if err != nil {
			return types.NewErr("Illegal regex: %v", err.Error())
		}
		return strs(re.FindAllString(text, int(limit)))
	}
	texts := cel.ListType(cel.StringType)
	return []overload{
		method("find", cel.StringType, of2(find), cel.StringType, cel.StringType),
		method("findAll", texts, findAll, cel.StringType, cel.StringType),
		method("findAll", texts, findAll, cel.StringType, cel.StringType, cel.IntType),
	}
}
