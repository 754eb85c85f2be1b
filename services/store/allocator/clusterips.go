package allocator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/servicecidr"
	"navarch.dev/navarch/services/store/backend"
)

// errFull says that nothing is free.
var errFull = errors.New("range is full")

// families refuses addresses of a version that the cluster has none of. What a
// Service was given before it may keep.
func (c *claim) families(old *corev1.Service) error {
	spec := &c.svc.Spec
	if spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	if err := c.singleStack(); err != nil {
		return err
	}
	headless := spec.ClusterIP == corev1.ClusterIPNone
	if headless && len(spec.Selector) == 0 {
		return nil
	}
	var had []corev1.IPFamily
	required := false
	if old != nil {
		had, required = old.Spec.IPFamilies, requiresDualStack(&old.Spec)
	}
	var errs []*field.Error
	if requiresDualStack(spec) && !required {
		errs = append(errs, field.Invalid(field.NewPath("spec", "ipFamilyPolicy"), *spec.IPFamilyPolicy, "this cluster is not configured for dual-stack services"))
	}
	for i, family := range spec.IPFamilies {
		switch {
		case family == corev1.IPv4Protocol || slices.Contains(had, family):
		case i < len(spec.ClusterIPs) && !headless:
			errs = append(errs, field.Invalid(field.NewPath("spec", "clusterIPs").Index(i), spec.ClusterIPs, fmt.Sprintf("%s is not configured on this cluster", family)))
		default:
			errs = append(errs, field.Invalid(field.NewPath("spec", "ipFamilies").Index(i), family, "not configured on this cluster"))
		}
	}
	if len(errs) > 0 {
		return c.invalid(errs...)
	}
	return nil
}

// singleStack refuses two versions where one is asked for.
func (c *claim) singleStack() error {
	spec, at := &c.svc.Spec, field.NewPath("spec", "ipFamilyPolicy")
	if spec.IPFamilyPolicy == nil || *spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack {
		return nil
	}
	var errs []*field.Error
	refuse := func(what string) {
		errs = append(errs, field.Invalid(at, *spec.IPFamilyPolicy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple "+what+" are specified"))
	}
	if len(spec.ClusterIPs) == 2 {
		refuse("cluster IPs")
	}
	if len(spec.IPFamilies) == 2 {
		refuse("IP families")
	}
	if len(errs) > 0 {
		return c.invalid(errs...)
	}
	return nil
}

func requiresDualStack(spec *corev1.ServiceSpec) bool {
	return spec.IPFamilyPolicy != nil && *spec.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack
}

// clusterIP sees to the Service's address.
func (c *claim) clusterIP(ctx context.Context) error {
	spec := &c.svc.Spec
	if !takesIP(c.svc) {
		return nil
	}
	if spec.ClusterIP != "" {
		return c.chosenIP(ctx)
	}
	ip, err := c.pickIP(ctx)
	if err != nil {
		return err
	}
	spec.ClusterIP, spec.ClusterIPs = ip.String(), []string{ip.String()}
	return nil
}

// pickIP returns a free address of the first range that has one.
func (c *claim) pickIP(ctx context.Context) (netip.Addr, error) {
	spans, err := c.spans(ctx)
	if err != nil {
		return netip.Addr{}, err
	}
	var found netip.Addr
	ok, err := c.pick(ctx, func() (string, bool) {
		for _, s := range spans {
			ip, ok := s.pick(func(ip netip.Addr) bool { return !c.used[c.ipKey(ip)] })
			if ok {
				found, c.conditions = ip, []backend.Op{s.unchanged}
				return c.ipKey(ip), true
			}
		}
		return "", false
	})
	if err == nil && !ok {
		err = apierrors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP for Service %q: %w", c.svc.Name, errFull))
	}
	return found, err
}

// chosenIP checks an address that the user asks for.
func (c *claim) chosenIP(ctx context.Context) error {
	text := c.svc.Spec.ClusterIP
	ip, ok := clusterIPOf(c.svc)
	if _, mine := c.had[c.ipKey(ip)]; ok && mine {
		return nil
	}
	problem := "the provided network does not match the current range"
	spans, err := c.spans(ctx)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(spans, func(s span) bool { return ok && servicecidr.Covers(s.Prefix, ip) }); i >= 0 {
		taken, err := c.isUsed(ctx, c.ipKey(ip))
		if err != nil {
			return err
		}
		if !taken {
			c.conditions = append(c.conditions, spans[i].unchanged)
			return nil
		}
		problem = "provided IP is already allocated"
	}
	return c.invalid(field.Invalid(field.NewPath("spec", "clusterIPs"), c.svc.Spec.ClusterIPs,
		fmt.Sprintf("failed to allocate IP %s: %s", text, problem)))
}

// anyFree returns a number in [low, high) for which isFree is true: the first
// from a random one on, so that allocators that run at once rarely meet.
func anyFree(low, high uint64, isFree func(uint64) bool) (uint64, bool) {
	if high <= low {
		return 0, false
	}
	size := high - low
	start := rand.N(size)
	for i := range size {
		if n := low + (start+i)%size; isFree(n) {
			return n, true
		}
	}
	return 0, false
}
