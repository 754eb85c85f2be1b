package devices

import (
	"slices"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
)

// constraint is what the devices of some requests of a claim must have in
// common, or must not.
type constraint struct {
	requests  []string // none: all
	attribute string
	distinct  bool
	// values are those of the devices that have been picked.
	values []any
}

func newConstraints(claim *resourcev1.ResourceClaim) []*constraint {
	var out []*constraint
	for _, c := range claim.Spec.Devices.Constraints {
		switch {
		case c.MatchAttribute != nil:
			out = append(out, &constraint{requests: c.Requests, attribute: string(*c.MatchAttribute)})
		case c.DistinctAttribute != nil:
			out = append(out, &constraint{requests: c.Requests, attribute: string(*c.DistinctAttribute), distinct: true})
		}
	}
	return out
}

// concerns says whether a constraint is about a request, which may be named with
// its subrequest.
func (c *constraint) concerns(request string) bool {
	return len(c.requests) == 0 || names(c.requests, request)
}

// names says whether a list of requests has one, which may be named with its
// subrequest.
func names(requests []string, request string) bool {
	main, _, _ := strings.Cut(request, "/")
	return slices.Contains(requests, request) || slices.Contains(requests, main)
}

// add picks a device; false if that would break the constraint.
func (c *constraint) add(d *device) bool {
	value, ok := attribute(d, c.attribute)
	if !ok {
		return false
	}
	same := slices.Contains(c.values, value)
	if len(c.values) > 0 && same == c.distinct {
		return false
	}
	c.values = append(c.values, value)
	return true
}

// drop takes the last pick back.
func (c *constraint) drop() { c.values = c.values[:len(c.values)-1] }

// attribute returns the value of an attribute that is named with its domain.
func attribute(d *device, name string) (any, bool) {
	a, ok := d.Attributes[resourcev1.QualifiedName(name)]
	if !ok {
		domain, id, _ := strings.Cut(name, "/")
		if domain != d.id.Driver {
			return nil, false
		}
		if a, ok = d.Attributes[resourcev1.QualifiedName(id)]; !ok {
			return nil, false
		}
	}
	// Values of different types are different: the version 1.0.0 is not the string.
	type version string
	switch {
	case a.IntValue != nil:
		return *a.IntValue, true
	case a.BoolValue != nil:
		return *a.BoolValue, true
	case a.StringValue != nil:
		return *a.StringValue, true
	case a.VersionValue != nil:
		return version(*a.VersionValue), true
	}
	return nil, false
}
