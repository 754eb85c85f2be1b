package rule

import (
	"fmt"
	"net/netip"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// IP says that a string must be an IP address that all programs read alike: without
// leading zeros, and of version 4 if it stands for such. Those that are kept need
// not be so: they were there before the rule.
func IP(ip string, at *field.Path, kept ...string) field.ErrorList {
	return validation.IsValidIPForLegacyField(at, ip, true, kept)
}

// CIDR says that a string must be a range of IP addresses, by its first address.
func CIDR(cidr string, at *field.Path) field.ErrorList {
	return validation.IsValidCIDRForLegacyField(at, cidr, true, nil)
}

// OrdinaryIP says that an IP address must be one that can be somebody else's:
// traffic to a loopback or a link's own addresses would stay with the sender.
func OrdinaryIP(ip string, at *field.Path) field.ErrorList {
	errs := EndpointIP(ip, at)
	if addr, err := netip.ParseAddr(ip); err == nil && addr.Unmap().IsLoopback() {
		errs = append(errs, field.Invalid(at, ip, "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
	}
	return errs
}

// EndpointIP is OrdinaryIP for what serves: on a host that has no other
// address, the node and the pods in its network are at the loopback's.
func EndpointIP(ip string, at *field.Path) field.ErrorList {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return field.ErrorList{field.Invalid(at, ip, "must be a valid IP address")}
	}
	addr = addr.Unmap()
	var errs field.ErrorList
	for _, special := range []struct {
		is  bool
		why string
	}{
		{addr.IsUnspecified(), fmt.Sprintf("may not be unspecified (%s)", ip)},
		{addr.IsLinkLocalUnicast(), "may not be in the link-local range (169.254.0.0/16, fe80::/10)"},
		{addr.IsLinkLocalMulticast(), "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"},
	} {
		if special.is {
			errs = append(errs, field.Invalid(at, ip, special.why))
		}
	}
	return errs
}

// IsIPv6 says whether an IP address or range is one of version 6.
func IsIPv6(s string) bool { return strings.Contains(s, ":") }

// OnePerFamily says that there may be at most one address or range of each IP
// version. what is "IP" or "CIDR".
func OnePerFamily(values []string, shown any, what string, at *field.Path) field.ErrorList {
	if len(values) < 2 {
		return nil
	}
	var errs field.ErrorList
	if len(values) > 2 || IsIPv6(values[0]) == IsIPv6(values[1]) {
		errs = append(errs, field.Invalid(at, shown, "may specify no more than one "+what+" for each IP family"))
	}
	seen := Seen[string]{}
	for i, value := range values {
		errs = append(errs, seen.Once(value, at.Index(i))...)
	}
	return errs
}

// Percent says that a string must be a percentage.
func Percent(value string, shown any, at *field.Path) field.ErrorList {
	return Invalids(at, shown, validation.IsValidPercent(value))
}
