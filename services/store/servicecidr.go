package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/servicecidr"
	"navarch.dev/navarch/services/store/cache"
	"navarch.dev/navarch/services/store/registry"
)

// configuredCIDR makes the ServiceCIDR that says what the Store is configured
// with. It is ready from the start: the cluster's first Services have addresses
// of it. One that says something else stays, as does one that is being deleted:
// Services may have addresses of it.
func (s *Store) configuredCIDR(ctx context.Context) error {
	prefix, err := netip.ParsePrefix(s.cfg.ServiceCIDR)
	if err != nil {
		return fmt.Errorf("read the range of cluster IPs: %w", err)
	}
	want := &networkingv1.ServiceCIDR{
		ObjectMeta: metav1.ObjectMeta{Name: servicecidr.Default, Finalizers: []string{servicecidr.Finalizer}},
		Spec:       networkingv1.ServiceCIDRSpec{CIDRs: []string{prefix.Masked().String()}},
	}
	kind, err := s.kinds.ForObject(want)
	if err != nil {
		return fmt.Errorf("make the configured ServiceCIDR: %w", err)
	}
	w := registry.Write{Kind: kind, Name: want.Name, User: identity.Service(identity.Store), Manager: fieldManager, Verb: "create"}
	if err = s.configuredCIDRReady(ctx, w, want); apierrors.IsNotFound(err) {
		if _, err = s.registry.Create(ctx, w, want.DeepCopy()); err == nil || apierrors.IsAlreadyExists(err) {
			err = s.configuredCIDRReady(ctx, w, want)
		}
	}
	if err != nil {
		return fmt.Errorf("make the configured ServiceCIDR: %w", err)
	}
	return nil
}

// configuredCIDRReady says that the ServiceCIDR is ready where nobody has said
// anything about it yet.
func (s *Store) configuredCIDRReady(ctx context.Context, w registry.Write, want *networkingv1.ServiceCIDR) error {
	w.Subresource, w.Verb = "status", "update"
	_, err := s.registry.Change(ctx, w, func(cur *cache.Version) (kinds.Object, error) {
		have, ok := cur.Object().DeepCopyObject().(*networkingv1.ServiceCIDR)
		if !ok {
			return nil, errors.New("the object is no ServiceCIDR")
		}
		if !slices.Equal(have.Spec.CIDRs, want.Spec.CIDRs) {
			s.tel.Log.WarnContext(ctx, "the default ServiceCIDR is not what the store is configured with", "cidrs", have.Spec.CIDRs, "configured", want.Spec.CIDRs)
			return have, nil
		}
		if have.DeletionTimestamp == nil && meta.FindStatusCondition(have.Status.Conditions, networkingv1.ServiceCIDRConditionReady) == nil {
			meta.SetStatusCondition(&have.Status.Conditions, metav1.Condition{
				Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue, Message: "Kubernetes default Service CIDR is ready",
			})
		}
		return have, nil
	})
	return err
}
