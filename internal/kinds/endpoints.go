package kinds

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

const maxSliceEndpoints = 1000

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
	return orNone(some(out, 3))
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
	})
}

func validateEndpoints(e *corev1.Endpoints) field.ErrorList {
	var errs field.ErrorList
	for i, subset := range e.Subsets {
		path := field.NewPath("subsets").Index(i)
		if len(subset.Addresses)+len(subset.NotReadyAddresses) == 0 {
			errs = append(errs, field.Required(path, "must specify `addresses` or `notReadyAddresses`"))
		}
		for a, address := range subset.Addresses {
			errs = append(errs, validation.IsValidIPForLegacyField(path.Child("addresses").Index(a).Child("ip"), address.IP, false, nil)...)
		}
		for a, address := range subset.NotReadyAddresses {
			errs = append(errs, validation.IsValidIPForLegacyField(path.Child("notReadyAddresses").Index(a).Child("ip"), address.IP, false, nil)...)
		}
		for p, port := range subset.Ports {
			at := path.Child("ports").Index(p)
			if port.Name == "" && len(subset.Ports) > 1 {
				errs = append(errs, field.Required(at.Child("name"), ""))
			}
			errs = append(errs, rule.Invalids(at.Child("port"), port.Port, validation.IsValidPortNum(int(port.Port)))...)
			errs = append(errs, rule.OneOf(port.Protocol, at.Child("protocol"), corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)...)
		}
	}
	return errs
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
			return some(out, 3)
		}),
		text("Endpoints", doc["endpoints"], func(s *discoveryv1.EndpointSlice) string {
			var out []string
			for _, e := range s.Endpoints {
				out = append(out, e.Addresses...)
			}
			if len(out) == 0 {
				return "<unset>"
			}
			return some(out, 3)
		}),
		ageColumn(),
	)
}

func endpointSliceStrategy() Strategy {
	s := plain(rules[*discoveryv1.EndpointSlice]{
		defaults: func(s *discoveryv1.EndpointSlice) {
			for i := range s.Ports {
				setPointer(&s.Ports[i].Name, "")
				setPointer(&s.Ports[i].Protocol, corev1.ProtocolTCP)
			}
		},
		validate: validateEndpointSlice,
		validateUpdate: func(s, old *discoveryv1.EndpointSlice) field.ErrorList {
			return rule.Immutable(s.AddressType, old.AddressType, field.NewPath("addressType"))
		},
	})
	s.SpecChanged = func(obj, old Object) bool {
		a, b := obj.(*discoveryv1.EndpointSlice), old.(*discoveryv1.EndpointSlice)
		return changed(func(s *discoveryv1.EndpointSlice) *[]discoveryv1.Endpoint { return &s.Endpoints })(a, b) ||
			changed(func(s *discoveryv1.EndpointSlice) *[]discoveryv1.EndpointPort { return &s.Ports })(a, b)
	}
	return s
}

func validateEndpointSlice(s *discoveryv1.EndpointSlice) field.ErrorList {
	errs := rule.OneOf(s.AddressType, field.NewPath("addressType"), discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6)
	if len(s.Endpoints) > maxSliceEndpoints {
		errs = append(errs, field.TooMany(field.NewPath("endpoints"), len(s.Endpoints), maxSliceEndpoints))
	}
	for i := range s.Endpoints {
		errs = append(errs, validateEndpoint(s.AddressType, &s.Endpoints[i], field.NewPath("endpoints").Index(i))...)
	}
	names := sets.New[string]()
	for i, p := range s.Ports {
		path := field.NewPath("ports").Index(i)
		name := deref(p.Name)
		if names.Has(name) {
			errs = append(errs, field.Duplicate(path.Child("name"), name))
		}
		names.Insert(name)
		if name != "" {
			errs = append(errs, rule.Invalids(path.Child("name"), name, validation.IsDNS1123Label(name))...)
		}
		errs = append(errs, rule.OneOf(deref(p.Protocol), path.Child("protocol"), corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)...)
	}
	return errs
}

func validateEndpoint(kind discoveryv1.AddressType, e *discoveryv1.Endpoint, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(e.Addresses) == 0 {
		errs = append(errs, field.Required(path.Child("addresses"), "must contain at least 1 address"))
	}
	for i, a := range e.Addresses {
		at := path.Child("addresses").Index(i)
		switch kind {
		case discoveryv1.AddressTypeFQDN:
			errs = append(errs, validation.IsFullyQualifiedDomainName(at, a)...)
		case discoveryv1.AddressTypeIPv4:
			errs = append(errs, validFamily(a, corev1.IPv4Protocol, at)...)
		case discoveryv1.AddressTypeIPv6:
			errs = append(errs, validFamily(a, corev1.IPv6Protocol, at)...)
		}
	}
	if e.Hostname != nil {
		errs = append(errs, rule.Invalids(path.Child("hostname"), *e.Hostname, validation.IsDNS1123Label(*e.Hostname))...)
	}
	return errs
}

func validFamily(ip string, family corev1.IPFamily, path *field.Path) field.ErrorList {
	errs := validation.IsValidIPForLegacyField(path, ip, false, nil)
	if len(errs) == 0 && familyOf(ip) != family {
		errs = append(errs, field.Invalid(path, ip, fmt.Sprintf("must be an %s address", family)))
	}
	return errs
}

func serviceAccountColumns() []Column {
	return columns(
		number("Secrets", corev1.ServiceAccount{}.SwaggerDoc()["secrets"], func(s *corev1.ServiceAccount) int64 { return int64(len(s.Secrets)) }),
		ageColumn(),
	)
}

func limitRangeStrategy() Strategy {
	return plain(rules[*corev1.LimitRange]{defaults: func(l *corev1.LimitRange) {
		for i := range l.Spec.Limits {
			defaultLimits(&l.Spec.Limits[i])
		}
	}})
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
		rules[*corev1.ResourceQuota]{validate: func(q *corev1.ResourceQuota) field.ErrorList {
			var errs field.ErrorList
			for name, hard := range q.Spec.Hard {
				if hard.Sign() < 0 {
					errs = append(errs, field.Invalid(specPath("hard").Key(string(name)), hard.String(), "must be greater than or equal to 0"))
				}
			}
			return errs
		}})
}
