package kinds

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

func ingressColumns() []Column {
	doc := networkingv1.IngressSpec{}.SwaggerDoc()
	return columns(
		text("Class", doc["ingressClassName"], func(i *networkingv1.Ingress) string { return pointerOr(i.Spec.IngressClassName, none) }),
		text("Hosts", "Hosts that incoming requests are matched against before the ingress rule", ingressHosts),
		text("Address", networkingv1.IngressStatus{}.SwaggerDoc()["loadBalancer"], func(i *networkingv1.Ingress) string {
			var out []string
			for _, in := range i.Status.LoadBalancer.Ingress {
				out = append(out, in.IP+in.Hostname)
			}
			return strings.Join(out, ",")
		}),
		text("Ports", "Ports of TLS configurations that open", func(i *networkingv1.Ingress) string {
			if len(i.Spec.TLS) > 0 {
				return "80, 443"
			}
			return "80"
		}),
		ageColumn(),
	)
}

func ingressHosts(i *networkingv1.Ingress) string {
	var hosts []string
	for _, r := range i.Spec.Rules {
		if r.Host != "" {
			hosts = append(hosts, r.Host)
		}
	}
	if len(hosts) == 0 {
		return "*"
	}
	return some(hosts, 3)
}

func ingressStrategy() Strategy {
	return specStatus(
		func(i *networkingv1.Ingress) *networkingv1.IngressSpec { return &i.Spec },
		func(i *networkingv1.Ingress) *networkingv1.IngressStatus { return &i.Status },
		rules[*networkingv1.Ingress]{validate: validateIngress})
}

func validateIngress(i *networkingv1.Ingress) field.ErrorList {
	if len(i.Spec.Rules) == 0 && i.Spec.DefaultBackend == nil {
		return field.ErrorList{field.Invalid(specPath(), i.Spec.Rules, "either `defaultBackend` or `rules` must be specified")}
	}
	var errs field.ErrorList
	if i.Spec.DefaultBackend != nil {
		errs = append(errs, validateBackend(i.Spec.DefaultBackend, specPath("defaultBackend"))...)
	}
	for n := range i.Spec.Rules {
		errs = append(errs, validateIngressRule(&i.Spec.Rules[n], specPath("rules").Index(n))...)
	}
	for n, tls := range i.Spec.TLS {
		for h, host := range tls.Hosts {
			errs = append(errs, validHost(host, specPath("tls").Index(n).Child("hosts").Index(h))...)
		}
	}
	return errs
}

func validHost(host string, path *field.Path) field.ErrorList {
	if strings.Contains(host, "*") {
		return rule.Invalids(path, host, validation.IsWildcardDNS1123Subdomain(host))
	}
	return rule.Invalids(path, host, validation.IsDNS1123Subdomain(host))
}

func validateIngressRule(r *networkingv1.IngressRule, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if r.Host != "" {
		if _, err := netip.ParseAddr(r.Host); err == nil {
			errs = append(errs, field.Invalid(path.Child("host"), r.Host, "must be a DNS name, not an IP address"))
		}
		errs = append(errs, validHost(r.Host, path.Child("host"))...)
	}
	if r.HTTP == nil {
		return errs
	}
	paths := path.Child("http", "paths")
	if len(r.HTTP.Paths) == 0 {
		errs = append(errs, field.Required(paths, ""))
	}
	for n := range r.HTTP.Paths {
		p, at := &r.HTTP.Paths[n], paths.Index(n)
		errs = append(errs, validateIngressPath(p, at)...)
		errs = append(errs, validateBackend(&p.Backend, at.Child("backend"))...)
	}
	return errs
}

func validateIngressPath(p *networkingv1.HTTPIngressPath, path *field.Path) field.ErrorList {
	if p.PathType == nil {
		return field.ErrorList{field.Required(path.Child("pathType"), "pathType must be specified")}
	}
	switch *p.PathType {
	case networkingv1.PathTypeExact, networkingv1.PathTypePrefix:
		return validateStrictPath(p.Path, path.Child("path"))
	case networkingv1.PathTypeImplementationSpecific:
		if p.Path != "" && !strings.HasPrefix(p.Path, "/") {
			return field.ErrorList{field.Invalid(path.Child("path"), p.Path, "must be an absolute path")}
		}
		return nil
	}
	return rule.OneOf(*p.PathType, path.Child("pathType"),
		networkingv1.PathTypeExact, networkingv1.PathTypeImplementationSpecific, networkingv1.PathTypePrefix)
}

func validateStrictPath(p string, path *field.Path) field.ErrorList {
	if !strings.HasPrefix(p, "/") {
		return field.ErrorList{field.Invalid(path, p, "must be an absolute path")}
	}
	var errs field.ErrorList
	for _, bad := range []string{"//", "/./", "/../", "%2f", "%2F"} {
		if strings.Contains(p, bad) {
			errs = append(errs, field.Invalid(path, p, fmt.Sprintf("must not contain '%s'", bad)))
		}
	}
	for _, bad := range []string{"/..", "/."} {
		if strings.HasSuffix(p, bad) {
			errs = append(errs, field.Invalid(path, p, fmt.Sprintf("cannot end with '%s'", bad)))
		}
	}
	return errs
}

func validateBackend(b *networkingv1.IngressBackend, path *field.Path) field.ErrorList {
	switch {
	case b.Service != nil && b.Resource != nil:
		return field.ErrorList{field.Invalid(path, "", "cannot set both resource and service backends")}
	case b.Resource != nil:
		return rule.Join(rule.Required(b.Resource.Kind, path.Child("resource", "kind")), rule.Required(b.Resource.Name, path.Child("resource", "name")))
	case b.Service == nil:
		return field.ErrorList{field.Required(path, "resource or service backend is required")}
	}
	path = path.Child("service")
	if b.Service.Name == "" {
		return field.ErrorList{field.Required(path.Child("name"), "")}
	}
	errs := rule.Invalids(path.Child("name"), b.Service.Name, validation.IsDNS1035Label(b.Service.Name))
	port := b.Service.Port
	switch {
	case port.Name != "" && port.Number != 0:
		errs = append(errs, field.Invalid(path, "", "cannot set both port name & port number"))
	case port.Name != "":
		errs = append(errs, rule.Invalids(path.Child("port", "name"), port.Name, validation.IsValidPortName(port.Name))...)
	case port.Number != 0:
		errs = append(errs, rule.Invalids(path.Child("port", "number"), port.Number, validation.IsValidPortNum(int(port.Number)))...)
	default:
		errs = append(errs, field.Required(path, "port name or number is required"))
	}
	return errs
}

func ingressClassColumns() []Column {
	doc := networkingv1.IngressClassSpec{}.SwaggerDoc()
	return columns(
		text("Controller", doc["controller"], func(c *networkingv1.IngressClass) string { return c.Spec.Controller }),
		text("Parameters", doc["parameters"], func(c *networkingv1.IngressClass) string {
			p := c.Spec.Parameters
			if p == nil {
				return none
			}
			kind := p.Kind
			if p.APIGroup != nil {
				kind += "." + *p.APIGroup
			}
			return kind + "/" + p.Name
		}),
		ageColumn(),
	)
}

func ingressClassStrategy() Strategy {
	return specOnly(func(c *networkingv1.IngressClass) *networkingv1.IngressClassSpec { return &c.Spec },
		rules[*networkingv1.IngressClass]{
			defaults: func(c *networkingv1.IngressClass) {
				if c.Spec.Parameters != nil {
					setPointer(&c.Spec.Parameters.Scope, networkingv1.IngressClassParametersReferenceScopeCluster)
				}
			},
			validate: func(c *networkingv1.IngressClass) field.ErrorList {
				return validation.IsDomainPrefixedPath(specPath("controller"), c.Spec.Controller)
			},
			validateUpdate: func(c, old *networkingv1.IngressClass) field.ErrorList {
				return rule.Immutable(c.Spec.Controller, old.Spec.Controller, specPath("controller"))
			},
		})
}

func networkPolicyColumns() []Column {
	return columns(
		text("Pod-Selector", networkingv1.NetworkPolicySpec{}.SwaggerDoc()["podSelector"], func(p *networkingv1.NetworkPolicy) string {
			return formatSelector(&p.Spec.PodSelector)
		}),
		ageColumn(),
	)
}

func networkPolicyStrategy() Strategy {
	return specOnly(func(p *networkingv1.NetworkPolicy) *networkingv1.NetworkPolicySpec { return &p.Spec },
		rules[*networkingv1.NetworkPolicy]{defaults: defaultNetworkPolicy, validate: validateNetworkPolicy})
}

func defaultNetworkPolicy(p *networkingv1.NetworkPolicy) {
	if len(p.Spec.PolicyTypes) == 0 {
		p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(p.Spec.Egress) > 0 {
			p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
		}
	}
	each := func(ports []networkingv1.NetworkPolicyPort) {
		for i := range ports {
			setPointer(&ports[i].Protocol, corev1.ProtocolTCP)
		}
	}
	for i := range p.Spec.Ingress {
		each(p.Spec.Ingress[i].Ports)
	}
	for i := range p.Spec.Egress {
		each(p.Spec.Egress[i].Ports)
	}
}

func validateNetworkPolicy(p *networkingv1.NetworkPolicy) field.ErrorList {
	errs := rule.Selector(&p.Spec.PodSelector, specPath("podSelector"))
	for i, peer := range p.Spec.Ingress {
		path := specPath("ingress").Index(i)
		errs = rule.Join(errs, validatePolicyPorts(peer.Ports, path.Child("ports")), validatePeers(peer.From, path.Child("from")))
	}
	for i, peer := range p.Spec.Egress {
		path := specPath("egress").Index(i)
		errs = rule.Join(errs, validatePolicyPorts(peer.Ports, path.Child("ports")), validatePeers(peer.To, path.Child("to")))
	}
	if len(p.Spec.PolicyTypes) > 2 {
		errs = append(errs, field.Invalid(specPath("policyTypes"), p.Spec.PolicyTypes, "may not specify more than two policyTypes"))
	}
	for i, t := range p.Spec.PolicyTypes {
		errs = append(errs, rule.OneOf(t, specPath("policyTypes").Index(i), networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress)...)
	}
	return errs
}

func validatePolicyPorts(ports []networkingv1.NetworkPolicyPort, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, p := range ports {
		at := path.Index(i)
		errs = append(errs, rule.OneOf(deref(p.Protocol), at.Child("protocol"), corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)...)
		switch {
		case p.Port == nil && p.EndPort != nil:
			errs = append(errs, field.Required(at.Child("port"), "must be specified when `endPort` is specified"))
		case p.Port == nil:
		case p.Port.StrVal != "":
			errs = append(errs, rule.Invalids(at.Child("port"), p.Port.StrVal, validation.IsValidPortName(p.Port.StrVal))...)
		default:
			errs = append(errs, rule.Invalids(at.Child("port"), p.Port.IntVal, validation.IsValidPortNum(int(p.Port.IntVal)))...)
			if p.EndPort != nil && *p.EndPort < p.Port.IntVal {
				errs = append(errs, field.Invalid(at.Child("endPort"), *p.EndPort, "must be greater than or equal to `port`"))
			}
		}
	}
	return errs
}

func validatePeers(peers []networkingv1.NetworkPolicyPeer, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, p := range peers {
		at := path.Index(i)
		switch {
		case p.IPBlock == nil && p.PodSelector == nil && p.NamespaceSelector == nil:
			errs = append(errs, field.Required(at, "must specify a peer"))
		case p.IPBlock != nil && (p.PodSelector != nil || p.NamespaceSelector != nil):
			errs = append(errs, field.Forbidden(at, "may not specify both ipBlock and another peer"))
		case p.IPBlock != nil:
			errs = append(errs, validateBlock(p.IPBlock, at.Child("ipBlock"))...)
		default:
			errs = rule.Join(errs, rule.Selector(p.PodSelector, at.Child("podSelector")), rule.Selector(p.NamespaceSelector, at.Child("namespaceSelector")))
		}
	}
	return errs
}

func validateBlock(b *networkingv1.IPBlock, path *field.Path) field.ErrorList {
	if b.CIDR == "" {
		return field.ErrorList{field.Required(path.Child("cidr"), "")}
	}
	errs := validation.IsValidCIDRForLegacyField(path.Child("cidr"), b.CIDR, false, nil)
	whole, err := netip.ParsePrefix(b.CIDR)
	for i, except := range b.Except {
		at := path.Child("except").Index(i)
		errs = append(errs, validation.IsValidCIDRForLegacyField(at, except, false, nil)...)
		part, perr := netip.ParsePrefix(except)
		if err == nil && perr == nil && (!whole.Contains(part.Addr()) || part.Bits() <= whole.Bits()) {
			errs = append(errs, field.Invalid(at, except, "must be a strict subset of `cidr`"))
		}
	}
	return errs
}
