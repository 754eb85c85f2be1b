package admission

import (
	"context"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// externalIPs lets Services take no external IPs that they do not have yet:
// whoever may create Services could draw any address's traffic to himself.
type externalIPs struct{ noMutation }

// Validate implements Plugin.
func (externalIPs) Validate(_ context.Context, r *Request) error {
	service, ok := r.Object.(*corev1.Service)
	if !ok || r.Subresource != "" {
		return nil
	}
	var have []string
	if old, ok := r.Old.(*corev1.Service); ok {
		have = old.Spec.ExternalIPs
	}
	for _, ip := range service.Spec.ExternalIPs {
		if !slices.Contains(have, ip) {
			return apierrors.NewForbidden(r.Kind.GroupResource(), r.Title(), errors.New("Use of external IPs is denied by admission control"))
		}
	}
	return nil
}
