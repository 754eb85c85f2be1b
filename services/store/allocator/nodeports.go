package allocator

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds"
)

// picksNodePorts says whether ports that name no node port get one.
func picksNodePorts(svc *corev1.Service) bool {
	if svc.Spec.Type == corev1.ServiceTypeLoadBalancer && svc.Spec.AllocateLoadBalancerNodePorts != nil {
		return *svc.Spec.AllocateLoadBalancerNodePorts
	}
	return takesNodePorts(svc)
}

// nodePorts sees to the Service's node ports, and to the one at which load
// balancers ask whether a node has endpoints.
func (c *claim) nodePorts(ctx context.Context) error {
	if !takesNodePorts(c.svc) {
		return nil
	}
	mine := make(map[int32]bool)
	for i := range c.svc.Spec.Ports {
		p := &c.svc.Spec.Ports[i]
		if p.NodePort == 0 && !picksNodePorts(c.svc) {
			continue
		}
		if err := c.nodePort(ctx, &p.NodePort, mine, field.NewPath("spec", "ports").Index(i).Child("nodePort")); err != nil {
			return err
		}
	}
	if !kinds.NeedsHealthCheck(&c.svc.Spec) {
		return nil
	}
	return c.nodePort(ctx, &c.svc.Spec.HealthCheckNodePort, mine, field.NewPath("spec", "healthCheckNodePort"))
}

// nodePort checks the port that the user asks for, or picks one, and adds it to
// mine.
func (c *claim) nodePort(ctx context.Context, port *int32, mine map[int32]bool, at *field.Path) (err error) {
	if *port != 0 {
		err = c.chosenPort(ctx, *port, mine, at)
	} else {
		*port, err = c.pickPort(ctx, mine)
	}
	mine[*port] = true
	return err
}

// chosenPort checks a node port that the user asks for.
func (c *claim) chosenPort(ctx context.Context, port int32, mine map[int32]bool, at *field.Path) error {
	if _, had := c.had[portKey(port)]; had || mine[port] {
		return nil
	}
	if port < c.ports.Min || port > c.ports.Max {
		return c.invalid(field.Invalid(at, port, fmt.Sprintf(
			"provided port is not in the valid range. The range of valid ports is %d-%d", c.ports.Min, c.ports.Max)))
	}
	taken, err := c.isUsed(ctx, portKey(port))
	if err != nil {
		return err
	}
	if taken {
		return c.invalid(field.Invalid(at, port, "provided port is already allocated"))
	}
	return nil
}

// pickPort returns a free node port that is not in mine.
func (c *claim) pickPort(ctx context.Context, mine map[int32]bool) (int32, error) {
	var port int32
	ok, err := c.pick(ctx, func() (string, bool) {
		n, ok := anyFree(uint64(c.ports.Min), uint64(c.ports.Max)+1, func(n uint64) bool {
			return !c.used[portKey(int32(n))] && !mine[int32(n)]
		})
		port = int32(n)
		return portKey(port), ok
	})
	if err == nil && !ok {
		err = apierrors.NewInternalError(fmt.Errorf("failed to allocate a nodePort: %w", errFull))
	}
	return port, err
}
