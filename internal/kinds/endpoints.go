package kinds

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/podspec"
	"navarch.dev/navarch/internal/kinds/rule"
)

// How large a slice may be.
const (
	maxSliceEndpoints = 1000
	maxSlicePorts     = 20000
	maxAddresses      = 100
	maxTopologyLabels = 16
	maxHints          = 8
)

func endpointsColumns() []Column {
	return columns(text("Endpoints", corev1.Endpoints{}.SwaggerDoc()["subsets"], endpointList), ageColumn())
}

func endpointList(e *corev1.Endpoints) string {
	var out []string
	for _, subset := range e.Subsets {
		for _, a := range subset.Addresses {
			if len(subset.Ports) == 0 {
				out = append(out, a.IP)
			}
			for _, p := range subset.Ports {
				out = append(out, net.JoinHostPort(a.IP, strconv.Itoa(int(p.Port))))
			}
		}
	}
	return orNone(some(out, 3, ","))
}

func endpointsStrategy() Strategy {
	return plain(rules[*corev1.Endpoints]{
		defaults: func(e *corev1.Endpoints) {
			for i := range e.Subsets {
				for p := range e.Subsets[i].Ports {
					setDefault(&e.Subsets[i].Ports[p].Protocol, corev1.ProtocolTCP)
				}
			}
		},
		validate: validateEndpoints,
		warnings: func(e *corev1.Endpoints) []string {
			at := field.NewPath("subsets")
			var out []string
			for i := range e.Subsets {
				out = slices.Concat(out, badAddresses(e.Subsets[i].Addresses, at.Index(i).Child("addresses")),
					badAddresses(e.Subsets[i].NotReadyAddresses, at.Index(i).Child("notReadyAddresses")))
			}
			return out
		},
	})
}

// badAddresses warns of addresses that some read in another way.
func badAddresses(addresses []corev1.EndpointAddress, at *field.Path) (out []string) {
	for i := range addresses {
		out = append(out, validation.GetWarningsForIP(at.Index(i).Child("ip"), addresses[i].IP)...)
	}
	return out
}

func validateEndpoints(e *corev1.Endpoints) field.ErrorList {
	return rule.Each(e.Subsets, field.NewPath("subsets"), func(subset *corev1.EndpointSubset, at *field.Path) field.ErrorList {
		var errs field.ErrorList
		if len(subset.Addresses)+len(subset.NotReadyAddresses) == 0 {
			errs = append(errs, field.Required(at, "must specify `addresses` or `notReadyAddresses`"))
		}
		return rule.Join(errs,
			rule.Each(subset.Addresses, at.Child("addresses"), validateEndpointAddress),
			rule.Each(subset.NotReadyAddresses, at.Child("notReadyAddresses"), validateEndpointAddress),
			rule.Each(subset.Ports, at.Child("ports"), func(port *corev1.EndpointPort, at *field.Path) field.ErrorList {
				var errs field.ErrorList
				if port.Name == "" && len(subset.Ports) > 1 {
					errs = append(errs, field.Required(at.Child("name"), ""))
				}
				return rule.Join(errs,
					rule.FormIfSet(port.Name, at.Child("name"), validation.IsDNS1123Label),
					rule.Port(port.Port, at.Child("port")),
					podspec.ValidateProtocol(port.Protocol, at.Child("protocol")),
					rule.Optional(port.AppProtocol, at.Child("appProtocol"), rule.Qualified[string]))
			}))
	})
}

func validateEndpointAddress(a *corev1.EndpointAddress, at *field.Path) field.ErrorList {
	return rule.Join(
		rule.IP(a.IP, at.Child("ip")),
		rule.FormIfSet(a.Hostname, at.Child("hostname"), validation.IsDNS1123Label),
		rule.Optional(a.NodeName, at.Child("nodeName"), validNodeName),
		rule.EndpointIP(a.IP, at.Child("ip")),
	)
}

func validNodeName(name string, at *field.Path) field.ErrorList {
	return rule.Form(name, at, validation.IsDNS1123Subdomain)
}

func endpointSliceColumns() []Column {
	doc := discoveryv1.EndpointSlice{}.SwaggerDoc()
	return columns(
		text("AddressType", doc["addressType"], func(s *discoveryv1.EndpointSlice) string { return string(s.AddressType) }),
		text("Ports", doc["ports"], func(s *discoveryv1.EndpointSlice) string {
			var out []string
			for _, p := range s.Ports {
				if p.Port != nil {
					out = append(out, strconv.Itoa(int(*p.Port)))
				} else {
					out = append(out, deref(p.Name))
				}
			}
			if len(out) == 0 {
				return "<unset>"
			}
			return some(out, 3, ",")
		}),
		text("Endpoints", doc["endpoints"], func(s *discoveryv1.EndpointSlice) string {
			var out []string
			for _, e := range s.Endpoints {
				out = append(out, e.Addresses...)
			}
			if len(out) == 0 {
				return "<unset>"
			}
			return some(out, 3, ",")
		}),
		ageColumn(),
	)
}

func endpointSliceStrategy() Strategy {
	s := plain(rules[*discoveryv1.EndpointSlice]{
		create: func(s *discoveryv1.EndpointSlice) { dropTopology(s, nil) },
		update: func(s, old *discoveryv1.EndpointSlice) {
			if !equality.Semantic.DeepEqual(s.Endpoints, old.Endpoints) {
				dropTopology(s, old)
			}
		},
		canonicalize: func(s *discoveryv1.EndpointSlice) {
			noneIfEmpty(&s.Endpoints)
			noneIfEmpty(&s.Ports)
		},
		defaults: func(s *discoveryv1.EndpointSlice) {
			for i := range s.Ports {
				setPointer(&s.Ports[i].Name, "")
				setPointer(&s.Ports[i].Protocol, corev1.ProtocolTCP)
			}
		},
		validate: validateEndpointSlice,
		validateUpdate: func(s, old *discoveryv1.EndpointSlice) field.ErrorList {
			return rule.Frozen(s.AddressType, old.AddressType, field.NewPath("addressType"))
		},
		warnings: func(s *discoveryv1.EndpointSlice) []string {
			if s.AddressType == discoveryv1.AddressTypeFQDN {
				return []string{"spec.addressType: FQDN endpoints are deprecated"}
			}
			return badSliceAddresses(s)
		},
	})
	s.UpdateWarnings = func(obj, _ Object) []string { return badSliceAddresses(obj.(*discoveryv1.EndpointSlice)) }
	s.SpecChanged = func(obj, old Object) bool {
		a, b := obj.(*discoveryv1.EndpointSlice), old.(*discoveryv1.EndpointSlice)
		return changed(func(s *discoveryv1.EndpointSlice) *[]discoveryv1.Endpoint { return &s.Endpoints })(a, b) ||
			changed(func(s *discoveryv1.EndpointSlice) *[]discoveryv1.EndpointPort { return &s.Ports })(a, b) ||
			!equality.Semantic.DeepEqual(a.Labels, b.Labels)
	}
	return s
}

// dropTopology takes away what v1 has fields for. The node that an endpoint was on
// according to that is kept in its field, so that who knows only older endpoints
// does not lose it.
func dropTopology(s, old *discoveryv1.EndpointSlice) {
	var nodes []string
	if old != nil {
		for i := range old.Endpoints {
			nodes = append(nodes, old.Endpoints[i].DeprecatedTopology[corev1.LabelHostname])
		}
	}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		if node := e.DeprecatedTopology[corev1.LabelHostname]; node != "" && e.NodeName == nil && slices.Contains(nodes, node) {
			e.NodeName = &node
		}
		e.DeprecatedTopology = nil
	}
}

// badSliceAddresses warns of addresses that some read in another way, unless the
// slice is a controller's, which writes none.
func badSliceAddresses(s *discoveryv1.EndpointSlice) (out []string) {
	switch s.Labels[discoveryv1.LabelManagedBy] {
	case "endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io":
		return nil
	}
	if s.AddressType == discoveryv1.AddressTypeFQDN {
		return nil
	}
	for i := range s.Endpoints {
		for j, address := range s.Endpoints[i].Addresses {
			out = append(out, validation.GetWarningsForIP(field.NewPath("endpoints").Index(i).Child("addresses").Index(j), address)...)
		}
	}
	return out
}

func validateEndpointSlice(s *discoveryv1.EndpointSlice) field.ErrorList {
	at := field.NewPath("endpoints")
	errs := rule.OneOf(s.AddressType, field.NewPath("addressType"), discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6)
	if many := rule.AtMost(len(s.Endpoints), maxSliceEndpoints, at); len(many) > 0 {
		errs = append(errs, many...)
	} else {
		errs = append(errs, rule.Each(s.Endpoints, at, func(e *discoveryv1.Endpoint, at *field.Path) field.ErrorList {
			return validateEndpoint(s.AddressType, e, at)
		})...)
	}
	return append(errs, validateSlicePorts(s.Ports, field.NewPath("ports"))...)
}

func validateSlicePorts(ports []discoveryv1.EndpointPort, at *field.Path) field.ErrorList {
	if many := rule.AtMost(len(ports), maxSlicePorts, at); len(many) > 0 {
		return many
	}
	names := rule.Seen[string]{}
	return rule.Each(ports, at, func(p *discoveryv1.EndpointPort, at *field.Path) field.ErrorList {
		name := deref(p.Name)
		return rule.Join(
			rule.FormIfSet(name, at.Child("name"), validation.IsDNS1123Label),
			names.Once(name, at.Child("name")),
			podspec.ValidateProtocol(deref(p.Protocol), at.Child("protocol")),
			rule.Optional(p.AppProtocol, at.Child("appProtocol"), rule.Qualified[string]),
		)
	})
}

func validateEndpoint(kind discoveryv1.AddressType, e *discoveryv1.Endpoint, at *field.Path) field.ErrorList {
	addresses := at.Child("addresses")
	var errs field.ErrorList
	if len(e.Addresses) == 0 {
		errs = append(errs, field.Required(addresses, ""))
	}
	errs = rule.Join(errs,
		rule.AtMost(len(e.Addresses), maxAddresses, addresses),
		rule.Each(e.Addresses, addresses, func(a *string, at *field.Path) field.ErrorList {
			switch kind {
			case discoveryv1.AddressTypeFQDN:
				return validation.IsFullyQualifiedDomainName(at, *a)
			case discoveryv1.AddressTypeIPv4:
				return validSliceAddress(*a, rule.IP(*a, at), corev1.IPv4Protocol, addresses, at)
			case discoveryv1.AddressTypeIPv6:
				return validSliceAddress(*a, validation.IsValidIP(at, *a), corev1.IPv6Protocol, addresses, at)
			}
			return nil
		}),
		rule.Optional(e.NodeName, at.Child("nodeName"), validNodeName),
		rule.AtMost(len(e.DeprecatedTopology), maxTopologyLabels, at.Child("deprecatedTopology")),
		metavalidation.ValidateLabels(e.DeprecatedTopology, at.Child("deprecatedTopology")),
		rule.Optional(e.Hostname, at.Child("hostname"), func(name string, at *field.Path) field.ErrorList {
			return rule.Form(name, at, validation.IsDNS1123Label)
		}),
	)
	if e.Hints == nil {
		return errs
	}
	return append(errs, validateHints(e.Hints, at.Child("hints"))...)
}

func validateHints(h *discoveryv1.EndpointHints, at *field.Path) field.ErrorList {
	zones, nodes := at.Child("forZones"), at.Child("forNodes")
	zoneNames, nodeNames := rule.Seen[string]{}, rule.Seen[string]{}
	return rule.Join(
		rule.AtMost(len(h.ForZones), maxHints, zones),
		rule.Each(h.ForZones, zones, func(z *discoveryv1.ForZone, at *field.Path) field.ErrorList {
			return rule.Join(zoneNames.Once(z.Name, at.Child("name")), rule.Form(z.Name, at.Child("name"), validation.IsValidLabelValue))
		}),
		rule.AtMost(len(h.ForNodes), maxHints, nodes),
		rule.Each(h.ForNodes, nodes, func(n *discoveryv1.ForNode, at *field.Path) field.ErrorList {
			return rule.Join(nodeNames.Once(n.Name, at.Child("name")), validNodeName(n.Name, at.Child("name")))
		}),
	)
}

// validSliceAddress: what has the form of an address is of its slice's family and
// can be somebody else's.
func validSliceAddress(ip string, form field.ErrorList, family corev1.IPFamily, addresses, at *field.Path) field.ErrorList {
	if len(form) > 0 {
		return form
	}
	var errs field.ErrorList
	if familyOf(ip) != family {
		errs = append(errs, field.Invalid(addresses, ip, fmt.Sprintf("must be an %s address", family)))
	}
	return append(errs, rule.EndpointIP(ip, at)...)
}

// limitRangeStrategy: a LimitRange that nobody names gets a name, as ever.
func limitRangeStrategy() Strategy {
	return plain(rules[*corev1.LimitRange]{
		create: func(l *corev1.LimitRange) {
			if l.Name == "" {
				l.Name = string(uuid.NewUUID())
			}
		},
		defaults: func(l *corev1.LimitRange) {
			for i := range l.Spec.Limits {
				defaultLimits(&l.Spec.Limits[i])
			}
		},
		canonicalize: func(l *corev1.LimitRange) { noneIfEmpty(&l.Spec.Limits) },
		validate:     validateLimitRange,
	})
}

// defaultLimits: for containers a maximum is also the default limit, the
// default limit the default request, and so is the minimum.
func defaultLimits(l *corev1.LimitRangeItem) {
	if l.Type != corev1.LimitTypeContainer {
		return
	}
	fill := func(to *corev1.ResourceList, from corev1.ResourceList) {
		for name, quantity := range from {
			if _, set := (*to)[name]; set {
				continue
			}
			if *to == nil {
				*to = corev1.ResourceList{}
			}
			(*to)[name] = quantity.DeepCopy()
		}
	}
	fill(&l.Default, l.Max)
	fill(&l.DefaultRequest, l.Default)
	fill(&l.DefaultRequest, l.Min)
}

func resourceQuotaColumns() []Column {
	doc := corev1.ResourceQuotaSpec{}.SwaggerDoc()
	return columns(
		text("Request", doc["hard"], func(q *corev1.ResourceQuota) string { return quotaList(q, false) }),
		text("Limit", doc["hard"], func(q *corev1.ResourceQuota) string { return quotaList(q, true) }),
		ageColumn(),
	)
}

func quotaList(q *corev1.ResourceQuota, limits bool) string {
	var names []string
	for name := range q.Status.Hard {
		if strings.HasPrefix(string(name), "limits.") == limits {
			names = append(names, string(name))
		}
	}
	slices.Sort(names)
	for i, name := range names {
		used, hard := q.Status.Used[corev1.ResourceName(name)], q.Status.Hard[corev1.ResourceName(name)]
		names[i] = fmt.Sprintf("%s: %s/%s", name, used.String(), hard.String())
	}
	return strings.Join(names, ", ")
}

func resourceQuotaStrategy() Strategy {
	return statusOnly(
		func(q *corev1.ResourceQuota) *corev1.ResourceQuotaSpec { return &q.Spec },
		func(q *corev1.ResourceQuota) *corev1.ResourceQuotaStatus { return &q.Status },
		rules[*corev1.ResourceQuota]{validate: validateQuota, validateUpdate: validateQuotaUpdate, validateStatus: validateQuotaStatus})
}
