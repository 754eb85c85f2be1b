package podspec

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

// What the resolvers of containers' C libraries take.
const (
	maxNameservers     = 3
	maxSearches        = 32
	maxSearchesInBytes = 2048
)

func validateDNS(spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	config := spec.DNSConfig
	switch {
	case spec.DNSPolicy == corev1.DNSNone && config == nil:
		return field.ErrorList{field.Required(at, "must provide `dnsConfig` when `dnsPolicy` is None")}
	case spec.DNSPolicy == corev1.DNSNone && len(config.Nameservers) == 0:
		return field.ErrorList{field.Required(at.Child("nameservers"), "must provide at least one DNS nameserver when `dnsPolicy` is None")}
	case config == nil:
		return nil
	}
	var errs field.ErrorList
	if len(config.Nameservers) > maxNameservers {
		errs = append(errs, field.Invalid(at.Child("nameservers"), config.Nameservers, fmt.Sprintf("must not have more than %d nameservers", maxNameservers)))
	}
	errs = append(errs, rule.Each(config.Nameservers, at.Child("nameservers"), func(ip *string, at *field.Path) field.ErrorList { return rule.IP(*ip, at) })...)
	if len(config.Searches) > maxSearches {
		errs = append(errs, field.Invalid(at.Child("searches"), config.Searches, fmt.Sprintf("must not have more than %d search paths", maxSearches)))
	}
	if len(strings.Join(config.Searches, " ")) > maxSearchesInBytes {
		errs = append(errs, field.Invalid(at.Child("searches"), config.Searches,
			fmt.Sprintf("must not have more than %d characters (including spaces) in the search list", maxSearchesInBytes)))
	}
	return rule.Join(errs,
		rule.Each(config.Searches, at.Child("searches"), validateSearch),
		rule.Each(config.Options, at.Child("options"), func(o *corev1.PodDNSConfigOption, at *field.Path) field.ErrorList {
			if o.Name == "" {
				return field.ErrorList{field.Required(at, "must not be empty")}
			}
			return nil
		}))
}

// validateSearch: a lone dot turns the search off.
func validateSearch(search *string, at *field.Path) field.ErrorList {
	if *search == "." {
		return nil
	}
	return rule.Form(strings.TrimSuffix(*search, "."), at, validation.IsDNS1123SubdomainWithUnderscore)
}

func validateHostAlias(alias *corev1.HostAlias, at *field.Path) field.ErrorList {
	return rule.Join(
		rule.IP(alias.IP, at.Child("ip")),
		rule.Each(alias.Hostnames, at.Child("hostnames"), func(name *string, at *field.Path) field.ErrorList { return subdomain(*name, at) }),
	)
}
