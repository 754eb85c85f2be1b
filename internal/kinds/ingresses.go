package kinds

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
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
	return some(hosts, 3, ",")
}

func ingressStrategy() Strategy {
	return specStatus(
		func(i *networkingv1.Ingress) *networkingv1.IngressSpec { return &i.Spec },
		func(i *networkingv1.Ingress) *networkingv1.IngressStatus { return &i.Status },
		rules[*networkingv1.Ingress]{
			validate: validateIngress, validateCreate: validateNewIngress, validateStatus: validateIngressStatus,
			warnings: func(i *networkingv1.Ingress) []string {
				if _, annotated := i.Annotations[ingressClassAnnotation]; annotated && i.Spec.IngressClassName == nil {
					return []string{fmt.Sprintf("annotation %q is deprecated, please use 'spec.ingressClassName' instead", ingressClassAnnotation)}
				}
				return nil
			},
			statusWarnings: func(i *networkingv1.Ingress) []string {
				return badBalancerIPs(balancerIPs(i.Status.LoadBalancer.Ingress, func(in *networkingv1.IngressLoadBalancerIngress) string { return in.IP }))
			},
		})
}

func validateIngress(i *networkingv1.Ingress) field.ErrorList {
	var errs field.ErrorList
	if len(i.Spec.Rules) == 0 && i.Spec.DefaultBackend == nil {
		errs = append(errs, field.Invalid(specPath(), i.Spec.Rules, "either `defaultBackend` or `rules` must be specified"))
	}
	if i.Spec.DefaultBackend != nil {
		errs = append(errs, validateBackend(i.Spec.DefaultBackend, specPath("defaultBackend"))...)
	}
	return rule.Join(errs,
		rule.Each(i.Spec.Rules, specPath("rules"), validateIngressRule),
		rule.Each(i.Spec.TLS, specPath("tls"), validateIngressTLS),
		rule.Optional(i.Spec.IngressClassName, specPath("ingressClassName"), func(name string, at *field.Path) field.ErrorList {
			return rule.Form(name, at, validation.IsDNS1123Subdomain)
		}))
}

// validateNewIngress: the class used to be named by an annotation.
func validateNewIngress(i *networkingv1.Ingress) field.ErrorList {
	value, ok := i.Annotations[ingressClassAnnotation]
	if !ok || i.Spec.IngressClassName == nil {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("annotations").Child(ingressClassAnnotation), value, "can not be set when the class field is also set")}
}

const ingressClassAnnotation = "kubernetes.io/ingress.class"

func validateIngressTLS(tls *networkingv1.IngressTLS, at *field.Path) field.ErrorList {
	errs := rule.Each(tls.Hosts, at.Child("hosts"), func(host *string, at *field.Path) field.ErrorList { return validHost(*host, at) })
	return append(errs, rule.FormIfSet(tls.SecretName, at.Child("secretName"), validation.IsDNS1123Subdomain)...)
}

func validateIngressStatus(i, old *networkingv1.Ingress) field.ErrorList {
	kept := balancerIPs(old.Status.LoadBalancer.Ingress, func(in *networkingv1.IngressLoadBalancerIngress) string { return in.IP })
	return rule.Each(i.Status.LoadBalancer.Ingress, field.NewPath("status", "loadBalancer", "ingress"), func(in *networkingv1.IngressLoadBalancerIngress, at *field.Path) field.ErrorList {
		return validateBalancerAddress(in.IP, in.Hostname, kept, at)
	})
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
		if p.PathType != nil {
			errs = append(errs, validateBackend(&p.Backend, at.Child("backend"))...)
		}
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
	var errs field.ErrorList
	if !strings.HasPrefix(p, "/") {
		errs = append(errs, field.Invalid(path, p, "must be an absolute path"))
	}
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

func validateBackend(b *networkingv1.IngressBackend, at *field.Path) field.ErrorList {
	switch {
	case b.Service != nil && b.Resource != nil:
		return field.ErrorList{field.Invalid(at, "", "cannot set both resource and service backends")}
	case b.Resource != nil:
		return validateTypedReference(b.Resource, at.Child("resource"))
	case b.Service == nil:
		return field.ErrorList{field.Invalid(at, "", "resource or service backend is required")}
	}
	service := at.Child("service")
	errs := rule.Given(b.Service.Name, service.Child("name"), validation.IsDNS1123Label)
	port := b.Service.Port
	switch {
	case port.Name != "" && port.Number != 0:
		return append(errs, field.Invalid(at, "", "cannot set both port name & port number"))
	case port.Name != "":
		return append(errs, rule.Form(port.Name, service.Child("port", "name"), validation.IsValidPortName)...)
	case port.Number != 0:
		return append(errs, rule.Port(port.Number, service.Child("port", "number"))...)
	}
	return append(errs, field.Required(at, "port name or number is required"))
}

func validateTypedReference(ref *corev1.TypedLocalObjectReference, at *field.Path) field.ErrorList {
	return rule.Join(
		rule.Optional(ref.APIGroup, at.Child("apiGroup"), validSubdomain),
		rule.Given(ref.Kind, at.Child("kind"), content.IsPathSegmentName),
		rule.Given(ref.Name, at.Child("name"), content.IsPathSegmentName),
	)
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
				return rule.Join(validateController(c.Spec.Controller, specPath("controller")), validateClassParameters(c.Spec.Parameters, specPath("parameters")))
			},
			validateUpdate: func(c, old *networkingv1.IngressClass) field.ErrorList {
				return rule.Immutable(c.Spec.Controller, old.Spec.Controller, specPath("controller"))
			},
		})
}

// longestController leaves room for what ingress controllers make of the name.
const longestController = 250

func validateController(name string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(name) > longestController {
		errs = append(errs, field.TooLong(at, name, longestController))
	}
	return append(errs, validation.IsDomainPrefixedPath(at, name)...)
}

func validateClassParameters(p *networkingv1.IngressClassParametersReference, at *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	errs := validateTypedReference(&corev1.TypedLocalObjectReference{APIGroup: p.APIGroup, Kind: p.Kind, Name: p.Name}, at)
	const cluster, namespaced = networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace
	if p.Scope == nil {
		return append(errs, field.Required(at.Child("scope"), ""))
	}
	switch namespace := at.Child("namespace"); {
	case *p.Scope == namespaced && p.Namespace == nil:
		errs = append(errs, field.Required(namespace, "`parameters.scope` is set to 'Namespace'"))
	case *p.Scope == namespaced:
		errs = append(errs, rule.Form(*p.Namespace, namespace, validation.IsDNS1123Label)...)
	case *p.Scope == cluster && p.Namespace != nil:
		errs = append(errs, field.Forbidden(namespace, "`parameters.scope` is set to 'Cluster'"))
	}
	return append(errs, rule.Supported(*p.Scope, at.Child("scope"), cluster, namespaced)...)
}
