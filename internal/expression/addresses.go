package expression

import (
	"fmt"
	"net/netip"
	"net/url"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

var (
	urlType  = cel.ObjectType("kubernetes.URL")
	ipType   = cel.ObjectType("net.IP")
	cidrType = cel.ObjectType("net.CIDR")
)

// urlFunctions take URLs apart. A URL is absolute or begins with a slash.
func urlFunctions() []overload {
	part := func(name string, get func(*url.URL) string) overload {
		return method(name, cel.StringType, of1(func(u *url.URL) ref.Val { return types.String(get(u)) }), urlType)
	}
	return []overload{
		test("isURL", url.ParseRequestURI),
		function("url", urlType, of1(func(s string) ref.Val {
			u, err := url.ParseRequestURI(s)
			if err != nil {
				return types.NewErr("URL parse error during conversion from string: %v", err)
			}
			return &opaque{value: u, t: urlType, equal: func(a, b any) bool { return a.(*url.URL).String() == b.(*url.URL).String() }}
		}), cel.StringType),
		part("getScheme", func(u *url.URL) string { return u.Scheme }),
		part("getHost", func(u *url.URL) string { return u.Host }),
		part("getHostname", (*url.URL).Hostname),
		part("getPort", (*url.URL).Port),
		part("getEscapedPath", (*url.URL).EscapedPath),
		method("getQuery", cel.MapType(cel.StringType, cel.ListType(cel.StringType)), of1(func(u *url.URL) ref.Val {
			return types.NewDynamicMap(types.DefaultTypeAdapter, map[string][]string(u.Query()))
		}), urlType),
	}
}

// readIP reads an address that stands for itself: no zone, and no IPv4 in IPv6.
func readIP(s string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return ip, fmt.Errorf("IP Address %q parse error during conversion from string: %w", s, err)
	case ip.Zone() != "":
		return ip, fmt.Errorf("IP address %q with zone value is not allowed", s)
	case ip.Is4In6():
		return ip, fmt.Errorf("IPv4-mapped IPv6 address %q is not allowed", s)
	}
	return ip, nil
}

func newIP(ip netip.Addr) ref.Val {
	return &opaque{value: ip, t: ipType, text: func(v any) string { return v.(netip.Addr).String() }}
}

// ipFunctions read IP addresses and tell what they are.
func ipFunctions() []overload {
	is := func(name string, ask func(netip.Addr) bool) overload {
		return method(name, cel.BoolType, of1(func(ip netip.Addr) ref.Val { return types.Bool(ask(ip)) }), ipType)
	}
	return []overload{
		test("isIP", readIP),
		function("ip", ipType, of1(func(s string) ref.Val {
			ip, err := readIP(s)
			if err != nil {
				return types.WrapErr(err)
			}
			return newIP(ip)
		}), cel.StringType),
		function("ip.isCanonical", cel.BoolType, of1(func(s string) ref.Val {
			ip, err := readIP(s)
			if err != nil {
				return types.WrapErr(err)
			}
			return types.Bool(ip.String() == s)
		}), cel.StringType),
		function("string", cel.StringType, of1(func(ip netip.Addr) ref.Val { return types.String(ip.String()) }), ipType),
		method("family", cel.IntType, of1(func(ip netip.Addr) ref.Val {
			if ip.Is4() {
				return types.Int(4)
			}
			return types.Int(6)
		}), ipType),
		is("isUnspecified", netip.Addr.IsUnspecified), is("isLoopback", netip.Addr.IsLoopback),
		is("isLinkLocalMulticast", netip.Addr.IsLinkLocalMulticast), is("isLinkLocalUnicast", netip.Addr.IsLinkLocalUnicast),
		is("isGlobalUnicast", netip.Addr.IsGlobalUnicast),
	}
}

func readCIDR(s string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return prefix, fmt.Errorf("network address parse error during conversion from string: %w", err)
	case prefix.Addr().Is4In6():
		return prefix, fmt.Errorf("IPv4-mapped IPv6 address %q is not allowed", s)
	}
	return prefix, nil
}

func newCIDR(prefix netip.Prefix) ref.Val {
	return &opaque{value: prefix, t: cidrType, text: func(v any) string { return v.(netip.Prefix).String() }}
}

// cidrFunctions read ranges of addresses and compare them.
func cidrFunctions() []overload {
	containsIP := func(prefix netip.Prefix, ip netip.Addr) ref.Val { return types.Bool(prefix.Contains(ip)) }
	containsCIDR := func(prefix, other netip.Prefix) ref.Val {
		return types.Bool(prefix.Overlaps(other) && prefix.Bits() <= other.Bits())
	}
	return []overload{
		test("isCIDR", readCIDR),
		function("cidr", cidrType, of1(func(s string) ref.Val {
			prefix, err := readCIDR(s)
			if err != nil {
				return types.WrapErr(err)
			}
			return newCIDR(prefix)
		}), cel.StringType),
		function("string", cel.StringType, of1(func(p netip.Prefix) ref.Val { return types.String(p.String()) }), cidrType),
		method("containsIP", cel.BoolType, of2(containsIP), cidrType, ipType),
		method("containsIP", cel.BoolType, of2(func(prefix netip.Prefix, s string) ref.Val {
			ip, err := readIP(s)
			if err != nil {
				return types.WrapErr(err)
			}
			return containsIP(prefix, ip)
		}), cidrType, cel.StringType),
		method("containsCIDR", cel.BoolType, of2(containsCIDR), cidrType, cidrType),
		method("containsCIDR", cel.BoolType, of2(func(prefix netip.Prefix, s string) ref.Val {
			other, err := readCIDR(s)
			if err != nil {
				return types.WrapErr(err)
			}
			return containsCIDR(prefix, other)
		}), cidrType, cel.StringType),
		method("ip", ipType, of1(func(p netip.Prefix) ref.Val { return newIP(p.Addr()) }), cidrType),
		method("masked", cidrType, of1(func(p netip.Prefix) ref.Val { return newCIDR(p.Masked()) }), cidrType),
		method("prefixLength", cel.IntType, of1(func(p netip.Prefix) ref.Val { return types.Int(p.Bits()) }), cidrType),
	}
}
