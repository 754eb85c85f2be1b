package devices

import (
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// plain names quantities as amounts do.
func plain(driver string, in map[resourcev1.QualifiedName]resource.Quantity) amounts {
	out := amounts{}
	for name, q := range in {
		out[short(driver, string(name))] = q
	}
	return out
}

func short(driver, name string) string { return strings.TrimPrefix(name, driver+"/") }

// consumes returns what a request would take of a device that is shared: what it
// asks for, rounded up as the device's policies say; false if it asks for more
// than can be had, or for what there is not.
func consumes(d *device, wanted amounts) (map[resourcev1.QualifiedName]resource.Quantity, bool) {
	out := map[resourcev1.QualifiedName]resource.Quantity{}
	known := 0
	for name, capacity := range d.Capacity {
		asked, ok := wanted[short(d.id.Driver, string(name))]
		if ok {
			known++
		}
		q, ok := rounded(asked, ok, &capacity)
		if !ok {
			return nil, false
		}
		out[name] = q
	}
	return out, known == len(wanted)
}

// suffices says whether a device that is not shared has what is wanted.
func suffices(d *device, wanted amounts) bool {
	known := 0
	for name, capacity := range d.Capacity {
		if asked, ok := wanted[short(d.id.Driver, string(name))]; ok {
			if asked.Cmp(capacity.Value) > 0 {
				return false
			}
			known++
		}
	}
	return known == len(wanted)
}

func rounded(asked resource.Quantity, given bool, c *resourcev1.DeviceCapacity) (resource.Quantity, bool) {
	policy := c.RequestPolicy
	switch {
	case !given && policy != nil && policy.Default != nil:
		asked = *policy.Default
	case !given:
		asked = c.Value
	}
	switch {
	case asked.Cmp(c.Value) > 0:
		return asked, false
	case policy == nil:
		return asked, true
	case len(policy.ValidValues) > 0:
		for _, q := range policy.ValidValues {
			if asked.Cmp(q) <= 0 {
				return q, true
			}
		}
		return asked, false
	case policy.ValidRange != nil:
		return inRange(asked, policy.ValidRange)
	}
	return asked, true
}

func inRange(asked resource.Quantity, r *resourcev1.CapacityRequestPolicyRange) (resource.Quantity, bool) {
	if r.Min != nil && asked.Cmp(*r.Min) < 0 {
		asked = *r.Min
	}
	if r.Min != nil && r.Step != nil && r.Step.Sign() > 0 {
		asked = onStep(asked, *r.Min, *r.Step)
	}
	return asked, r.Max == nil || asked.Cmp(*r.Max) <= 0
}

// onStep returns the first amount from least on, by whole steps, that is enough.
// Amounts are whole numbers, or whole thousandths.
func onStep(asked, least, step resource.Quantity) resource.Quantity {
	unit, from := (*resource.Quantity).Value, resource.NewQuantity
	for _, q := range []resource.Quantity{asked, least, step} {
		if q.MilliValue()%1000 != 0 {
			unit, from = (*resource.Quantity).MilliValue, resource.NewMilliQuantity
		}
	}
	over, by := unit(&asked)-unit(&least), unit(&step)
	if by <= 0 {
		return asked
	}
	if rest := over % by; rest != 0 {
		over += by - rest
	}
	return *from(unit(&least)+over, asked.Format)
}
