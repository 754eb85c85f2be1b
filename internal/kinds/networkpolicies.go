package kinds

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"navarch.dev/navarch/internal/kinds/rule"
)

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
		rules[*networkingv1.NetworkPolicy]{defaults: defaultNetworkPolicy, validate: validateNetworkPolicy, warnings: warnOfBlocks})
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
	errs := rule.Join(
		rule.Selector(&p.Spec.PodSelector, specPath("podSelector")),
		rule.Each(p.Spec.Ingress, specPath("ingress"), func(in *networkingv1.NetworkPolicyIngressRule, at *field.Path) field.ErrorList {
			return rule.Join(rule.Each(in.Ports, at.Child("ports"), validatePolicyPort), rule.Each(in.From, at.Child("from"), validatePeer))
		}),
		rule.Each(p.Spec.Egress, specPath("egress"), func(out *networkingv1.NetworkPolicyEgressRule, at *field.Path) field.ErrorList {
			return rule.Join(rule.Each(out.Ports, at.Child("ports"), validatePolicyPort), rule.Each(out.To, at.Child("to"), validatePeer))
		}),
	)
	if len(p.Spec.PolicyTypes) > 2 {
		return append(errs, field.Invalid(specPath("policyTypes"), p.Spec.PolicyTypes, "may not specify more than two policyTypes"))
	}
	return append(errs, rule.Each(p.Spec.PolicyTypes, specPath("policyTypes"), func(t *networkingv1.PolicyType, at *field.Path) field.ErrorList {
		return rule.Supported(*t, at, networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress)
	})...)
}

// validatePolicyPort: a range of ports is given by the numbers of both ends.
func validatePolicyPort(p *networkingv1.NetworkPolicyPort, at *field.Path) field.ErrorList {
	errs := rule.OptionalOf(p.Protocol, at.Child("protocol"), corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
	end := at.Child("endPort")
	switch {
	case p.Port == nil && p.EndPort != nil:
		return append(errs, field.Required(at.Child("port"), "must be specified when `endPort` is specified"))
	case p.Port == nil:
		return errs
	case p.Port.Type == intstr.String:
		if p.EndPort != nil {
			errs = append(errs, field.Invalid(end, *p.EndPort, "may not be specified when `port` is non-numeric"))
		}
		return append(errs, rule.Form(p.Port.StrVal, at.Child("port"), validation.IsValidPortName)...)
	}
	errs = append(errs, rule.Port(p.Port.IntVal, at.Child("port"))...)
	if p.EndPort == nil {
		return errs
	}
	if *p.EndPort < p.Port.IntVal {
		errs = append(errs, field.Invalid(end, *p.EndPort, "must be greater than or equal to `port`"))
	}
	return append(errs, rule.Port(*p.EndPort, end)...)
}

func validatePeer(p *networkingv1.NetworkPolicyPeer, at *field.Path) field.ErrorList {
	errs := rule.Join(rule.Selector(p.PodSelector, at.Child("podSelector")), rule.Selector(p.NamespaceSelector, at.Child("namespaceSelector")))
	if p.IPBlock != nil {
		errs = append(errs, validateBlock(p.IPBlock, at.Child("ipBlock"))...)
	}
	switch n := len(rule.Members(p)); {
	case n == 0:
		errs = append(errs, field.Required(at, "must specify a peer"))
	case n > 1 && p.IPBlock != nil:
		errs = append(errs, field.Forbidden(at, "may not specify both ipBlock and another peer"))
	}
	return errs
}

func validateBlock(b *networkingv1.IPBlock, at *field.Path) field.ErrorList {
	if b.CIDR == "" {
		return field.ErrorList{field.Required(at.Child("cidr"), "")}
	}
	errs := rule.CIDR(b.CIDR, at.Child("cidr"))
	_, whole, err := netutils.ParseCIDRSloppy(b.CIDR)
	if err != nil {
		return errs
	}
	return append(errs, rule.Each(b.Except, at.Child("except"), func(except *string, at *field.Path) field.ErrorList {
		errs := rule.CIDR(*except, at)
		_, part, err := netutils.ParseCIDRSloppy(*except)
		if err != nil {
			return errs
		}
		bits, _ := part.Mask.Size()
		if most, _ := whole.Mask.Size(); !whole.Contains(part.IP) || bits <= most {
			errs = append(errs, field.Invalid(at, *except, "must be a strict subset of `cidr`"))
		}
		return errs
	})...)
}

// warnOfBlocks warns of ranges that some read in another way.
func warnOfBlocks(p *networkingv1.NetworkPolicy) (out []string) {
	warn := func(peers []networkingv1.NetworkPolicyPeer, at *field.Path) {
		for i := range peers {
			b := peers[i].IPBlock
			if b == nil {
				continue
			}
			at := at.Index(i).Child("ipBlock")
			out = append(out, validation.GetWarningsForCIDR(at.Child("cidr"), b.CIDR)...)
			for j, except := range b.Except {
				out = append(out, validation.GetWarningsForCIDR(at.Child("except").Index(j), except)...)
			}
		}
	}
	for i := range p.Spec.Ingress {
		warn(p.Spec.Ingress[i].From, specPath("ingress").Index(i).Child("from"))
	}
	for i := range p.Spec.Egress {
		warn(p.Spec.Egress[i].To, specPath("egress").Index(i).Child("to"))
	}
	return out
}
