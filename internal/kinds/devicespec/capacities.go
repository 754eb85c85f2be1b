package devicespec

import (
	"fmt"
	"math/big"
	"slices"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

// mostAmounts is how many amounts of a capacity can be listed.
const mostAmounts = 10

// validateCapacity: what is shared may say which amounts can be asked for.
func validateCapacity(c *resourcev1.DeviceCapacity, shareable bool, at *field.Path) field.ErrorList {
	p := c.RequestPolicy
	switch {
	case p == nil:
		return nil
	case !shareable:
		return field.ErrorList{field.Forbidden(at, "allowMultipleAllocations must be true")}
	case len(p.ValidValues) > 0 && p.ValidRange != nil:
		return field.ErrorList{field.Forbidden(at, `exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time`)}
	case len(p.ValidValues) > 0:
		if p.Default == nil {
			return field.ErrorList{field.Required(at.Child("default"), "required when validValues is defined")}
		}
		return validateAmounts(p.ValidValues, *p.Default, c.Value, at.Child("validValues"))
	case p.ValidRange != nil:
		if p.Default == nil {
			return field.ErrorList{field.Required(at.Child("default"), "required when validRange is defined")}
		}
		return validateRange(p.ValidRange, *p.Default, c.Value, at.Child("validRange"))
	}
	return nil
}

func validateAmounts(amounts []resource.Quantity, otherwise, most resource.Quantity, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := 1; i < len(amounts); i++ {
		if amounts[i-1].Cmp(amounts[i]) > 0 {
			errs = append(errs, field.Invalid(at.Index(i), amounts[i].String(), "values must be sorted in ascending order"))
		}
	}
	errs = append(errs, set(amounts, mostAmounts, at,
		func(q *resource.Quantity) string { return exact(*q).RatString() },
		func(q *resource.Quantity, at *field.Path) field.ErrorList {
			if q.Cmp(most) <= 0 {
				return nil
			}
			return field.ErrorList{field.Invalid(at, q.String(), fmt.Sprintf("option is larger than capacity value: %s", most.String()))}
		})...)
	if !slices.ContainsFunc(amounts, func(q resource.Quantity) bool { return q.Cmp(otherwise) == 0 }) {
		errs = append(errs, field.Invalid(at, otherwise.String(), "default value is not valid according to the requestPolicy"))
	}
	return errs
}

func validateRange(r *resourcev1.CapacityRequestPolicyRange, otherwise, most resource.Quantity, at *field.Path) field.ErrorList {
	least, lower := r.Min, at.Child("min")
	if least == nil {
		return field.ErrorList{field.Required(lower, "required when validRange is defined")}
	}
	var errs field.ErrorList
	refuse := func(wrong bool, where string, q resource.Quantity, why string, than resource.Quantity) {
		if wrong {
			errs = append(errs, field.Invalid(at.Child(where), q.String(), fmt.Sprintf(why, than.String())))
		}
	}
	refuse(least.Cmp(most) > 0, "min", *least, "min is larger than capacity value: %s", most)
	refuse(otherwise.Cmp(*least) < 0, "default", otherwise, "default is less than min: %s", *least)
	if r.Max != nil {
		refuse(least.Cmp(*r.Max) > 0, "max", *least, "min is larger than max: %s", *r.Max)
		refuse(r.Max.Cmp(most) > 0, "max", *r.Max, "max is larger than capacity value: %s", most)
		refuse(otherwise.Cmp(*r.Max) > 0, "default", otherwise, "default is more than max: %s", *r.Max)
	}
	if r.Step != nil && r.Step.Sign() <= 0 {
		return append(errs, field.Invalid(at.Child("step"), r.Step.String(), "must be greater than zero"))
	}
	if r.Step != nil {
		first := least.DeepCopy()
		first.Add(*r.Step)
		if first.Cmp(most) > 0 {
			errs = append(errs, field.Invalid(at.Child("step"), r.Step.String(),
				fmt.Sprintf("one step %s is larger than capacity value: %s", first.String(), most.String())))
		}
	}
	if outside := unsafe(r, otherwise, at); len(outside) > 0 || r.Step == nil {
		return append(errs, outside...)
	}
	return rule.Join(errs, onStep(otherwise, r, at.Child("step")), rule.Optional(r.Max, at.Child("step"), func(q resource.Quantity, at *field.Path) field.ErrorList {
		return onStep(q, r, at)
	}))
}

func onStep(q resource.Quantity, r *resourcev1.CapacityRequestPolicyRange, at *field.Path) field.ErrorList {
	steps := new(big.Rat).Sub(exact(q), exact(*r.Min))
	if steps.Quo(steps, exact(*r.Step)).IsInt() {
		return nil
	}
	return field.ErrorList{field.Invalid(at, q.String(), fmt.Sprintf("value is not a multiple of a given step (%s) from (%s)", r.Step.String(), r.Min.String()))}
}

// unsafe returns the amounts that schedulers cannot reckon with: if all are
// whole, those that do not fit 64 bits where there are steps; otherwise those
// that are no whole thousandths.
func unsafe(r *resourcev1.CapacityRequestPolicyRange, otherwise resource.Quantity, at *field.Path) field.ErrorList {
	type amount struct {
		name string
		q    *resource.Quantity
	}
	amounts := slices.DeleteFunc([]amount{{"default", &otherwise}, {"min", r.Min}, {"max", r.Max}, {"step", r.Step}},
		func(a amount) bool { return a.q == nil })
	parts := slices.ContainsFunc(amounts, func(a amount) bool { return !exact(*a.q).IsInt() })
	var errs field.ErrorList
	for _, a := range amounts {
		switch {
		case parts:
			if a.q.Cmp(*resource.NewMilliQuantity(a.q.MilliValue(), a.q.Format)) != 0 {
				errs = append(errs, field.Invalid(at.Child(a.name), a.q.String(), "value cannot be represented as a milli value"))
			}
		case r.Step == nil:
		case a.q.Sign() < 0:
			errs = append(errs, field.Invalid(at.Child(a.name), a.q.String(), "must be greater than or equal to 0"))
		case !exact(*a.q).Num().IsInt64():
			errs = append(errs, field.Invalid(at.Child(a.name), a.q.String(), "must not be larger than 9223372036854775807"))
		}
	}
	return errs
}

// exact is a quantity as a fraction.
func exact(q resource.Quantity) *big.Rat {
	value, ok := new(big.Rat).SetString(q.AsDec().String())
	if !ok {
		return new(big.Rat) // decimals are fractions: there is no such quantity
	}
	return value
}
