package devices

import (
	"context"
	"fmt"
	"slices"

	resourcev1 "k8s.io/api/resource/v1"

	"navarch.dev/navarch/internal/deviceclaim"
	"navarch.dev/navarch/internal/expression"
)

// Classes returns a class by its name.
type Classes func(name string) (*resourcev1.DeviceClass, bool)

// Selectors compiles the expressions that select devices, each once as long as it
// is in use.
type Selectors interface {
	Compile(source string) (*expression.DeviceSelector, error)
}

// Request is what claims that are to be allocated together ask for.
type Request struct {
	claims   []*resourcev1.ResourceClaim
	requests []*request
}

// request is one request of a claim.
type request struct {
	claim int
	// alternatives are its subrequests in order of preference, or it alone.
	alternatives []*alternative
}

// alternative is a way to satisfy a request.
type alternative struct {
	// name is that of the request, followed by a slash and that of the subrequest
	// if it is one.
	name        string
	claim       *resourcev1.ResourceClaim
	class       *resourcev1.DeviceClass
	selectors   []selector
	all         bool
	count       int64
	admin       bool
	tolerations []resourcev1.DeviceToleration
	// capacity is what is asked for of each device.
	capacity *resourcev1.CapacityRequirements
}

type selector struct {
	source  string
	program *expression.DeviceSelector
	// where says whose it is, for people.
	where string
}

// NewRequest reads what claims ask for. It fails with what a user is to be told
// if a class is missing or an expression cannot be read.
func NewRequest(claims []*resourcev1.ResourceClaim, classes Classes, compile Selectors) (*Request, error) {
	out := &Request{claims: claims}
	for i, claim := range claims {
		for j := range claim.Spec.Devices.Requests {
			r := &claim.Spec.Devices.Requests[j]
			one := &request{claim: i}
			if e := r.Exactly; e != nil {
				one.alternatives = append(one.alternatives, &alternative{
					name: r.Name, all: e.AllocationMode == resourcev1.DeviceAllocationModeAll, count: e.Count,
					admin: e.AdminAccess != nil && *e.AdminAccess, tolerations: e.Tolerations, capacity: e.Capacity,
				})
				if err := one.alternatives[0].read(claim, e.DeviceClassName, e.Selectors, classes, compile); err != nil {
					return nil, err
				}
			}
			for k := range r.FirstAvailable {
				s := &r.FirstAvailable[k]
				a := &alternative{
					name: r.Name + "/" + s.Name, all: s.AllocationMode == resourcev1.DeviceAllocationModeAll, count: s.Count,
					tolerations: s.Tolerations, capacity: s.Capacity,
				}
				if err := a.read(claim, s.DeviceClassName, s.Selectors, classes, compile); err != nil {
					return nil, err
				}
				one.alternatives = append(one.alternatives, a)
			}
			out.requests = append(out.requests, one)
		}
	}
	return out, nil
}

func (a *alternative) read(claim *resourcev1.ResourceClaim, class string, own []resourcev1.DeviceSelector, classes Classes, compile Selectors) error {
	a.claim = claim
	var ok bool
	if a.class, ok = classes(class); !ok {
		return fmt.Errorf("request %s: device class %s does not exist", a.name, class)
	}
	for i, list := range [][]resourcev1.DeviceSelector{a.class.Spec.Selectors, own} {
		for j, s := range list {
			where := fmt.Sprintf("class %s: selector #%d", class, j)
			if i == 1 {
				where = fmt.Sprintf("claim %s, request %s: selector #%d", claim.Name, a.name, j)
			}
			if s.CEL == nil {
				return fmt.Errorf("%s: CEL expression empty (unsupported selector type?)", where)
			}
			program, err := compile.Compile(s.CEL.Expression)
			if err != nil {
				return fmt.Errorf("%s: CEL compile error: %w", where, err)
			}
			a.selectors = append(a.selectors, selector{s.CEL.Expression, program, where})
		}
	}
	return nil
}

// wanted is the capacity that is asked for, as amounts name it on a device of a
// driver.
func (a *alternative) wanted(driver string) amounts {
	if a.capacity == nil {
		return nil
	}
	return plain(driver, a.capacity.Requests)
}

// selects says whether all expressions are true of a device. That one fails is an
// error: the claim or the class is wrong.
func (a *alternative) selects(ctx context.Context, d *device) (bool, error) {
	for _, s := range a.selectors {
		ok, err := d.matchesSelector(ctx, s)
		if err != nil {
			return false, fmt.Errorf("%s: CEL runtime error: %w", s.where, err)
		}
		if !ok {
			return false, nil
		}
	}
	return true, nil
}

// matchesSelector evaluates an expression, once per device.
func (d *device) matchesSelector(ctx context.Context, s selector) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if known, ok := d.matches[s.source]; ok {
		return known.ok, known.err
	}
	if d.view == nil {
		view, err := expression.NewDevice(d.id.Driver, d.Device)
		if err != nil {
			return false, err
		}
		d.view = view
	}
	ok, err := s.program.Matches(ctx, d.view)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if d.matches == nil || len(d.matches) >= maxMatches {
		d.matches = map[string]match{}
	}
	d.matches[s.source] = match{ok, err}
	return ok, err
}

// maxMatches is how many answers a device keeps.
const maxMatches = 64

// tolerates says whether every taint of a device that keeps claims off is
// tolerated.
func (a *alternative) tolerates(d *device) bool { return len(a.untolerated(d)) == 0 }

// untolerated returns the taints that are not.
func (a *alternative) untolerated(d *device) (out []resourcev1.DeviceTaint) {
	for _, taint := range d.taints {
		if taint.Effect != resourcev1.DeviceTaintEffectNoSchedule && taint.Effect != resourcev1.DeviceTaintEffectNoExecute {
			continue
		}
		if !slices.ContainsFunc(a.tolerations, func(t resourcev1.DeviceToleration) bool { return deviceclaim.Tolerates(t, taint) }) {
			out = append(out, taint)
		}
	}
	return out
}
