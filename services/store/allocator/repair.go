package allocator

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"navarch.dev/navarch/internal/servicecidr"
	"navarch.dev/navarch/services/store/backend"
)

// Repair makes what is taken agree with what the Services have: it gives back
// what no Service has, and takes what a Service has without having taken it.
func (a *Allocator) Repair(ctx context.Context, log *slog.Logger) error {
	// What is taken is read first: each of these keys was written together
	// with its Service, so a Service that is missing from the later read is
	// really gone.
	taken, err := a.allTaken(ctx)
	if err != nil {
		return err
	}
	if err := a.ledger.Fresh(ctx, serviceResource()); err != nil {
		return err
	}
	objs, err := a.ledger.List(ctx, serviceResource(), "")
	if err != nil {
		return fmt.Errorf("read the services: %w", err)
	}
	holders := make(map[string]holder)
	for _, obj := range objs {
		svc := obj.(*corev1.Service)
		for key, ip := range a.holdings(svc) {
			if other, ok := holders[key]; ok {
				log.ErrorContext(ctx, "two services have the same address", "key", key, "service", owner(svc), "other", owner(other.Service))
				continue
			}
			holders[key] = holder{svc, ip}
		}
	}
	for _, kv := range taken {
		if _, held := holders[kv.Key]; held {
			delete(holders, kv.Key)
			continue
		}
		log.WarnContext(ctx, "an address that no service has is given back", "key", kv.Key, "was", string(kv.Value))
		if _, err := a.backend.Commit(ctx, backend.Op{Type: backend.Delete, Key: kv.Key, Expect: kv.Revision}); err != nil {
			return fmt.Errorf("give back %s: %w", kv.Key, err)
		}
	}
	if err := a.take(ctx, log, holders); err != nil {
		return err
	}
	return a.forgetFormer(ctx)
}

// holder is a Service and the address that it has, invalid for a node port.
type holder struct {
	*corev1.Service
	ip netip.Addr
}

// allTaken returns the keys by which anything is taken for a Service, with whom
// they name.
func (a *Allocator) allTaken(ctx context.Context) ([]backend.KeyValue, error) {
	ports, err := a.backend.List(ctx, portPrefix, backend.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the node ports that are taken: %w", err)
	}
	addresses, err := a.ledger.Stored(ctx, addressResource())
	if err != nil {
		return nil, err
	}
	taken := ports.Items
	for _, obj := range addresses {
		ip := obj.(*networkingv1.IPAddress)
		revision, err := strconv.ParseInt(ip.ResourceVersion, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read the version of IPAddress %s: %w", ip.Name, err)
		}
		if servicecidr.Managed(ip) {
			taken = append(taken, backend.KeyValue{
				Key: a.ledger.Key(addressResource(), "", ip.Name), Value: []byte(servicecidr.Owner(ip)), Revision: revision,
			})
		}
	}
	return taken, nil
}

// take takes keys for the Services that have them, unless those have changed
// meanwhile.
func (a *Allocator) take(ctx context.Context, log *slog.Logger, holders map[string]holder) error {
	for key, h := range holders {
		at := a.ledger.Key(serviceResource(), h.Namespace, h.Name)
		current, err := a.backend.Get(ctx, at, 0)
		if err != nil {
			return fmt.Errorf("read the service %s: %w", owner(h.Service), err)
		}
		if current == nil || fmt.Sprint(current.Revision) != h.ResourceVersion {
			continue
		}
		op, err := a.taking(ctx, key, h.ip, h.Service)
		if err != nil {
			return err
		}
		result, err := a.backend.Commit(ctx, op, backend.Op{Type: backend.Check, Key: at, Expect: current.Revision})
		if err != nil {
			return fmt.Errorf("take %s: %w", key, err)
		}
		if result.Committed {
			log.WarnContext(ctx, "an address that a service has was not taken", "key", key, "service", owner(h.Service))
		}
	}
	return nil
}

// forgetFormer removes what took cluster IPs before there were IPAddresses for
// them.
func (a *Allocator) forgetFormer(ctx context.Context) error {
	page, err := a.backend.List(ctx, formerPrefix, backend.ListOptions{})
	if err != nil {
		return fmt.Errorf("read how cluster IPs were taken before: %w", err)
	}
	for _, kv := range page.Items {
		if _, err := a.backend.Commit(ctx, backend.Op{Type: backend.Delete, Key: kv.Key, Expect: backend.Any}); err != nil {
			return fmt.Errorf("remove %s: %w", kv.Key, err)
		}
	}
	return nil
}
