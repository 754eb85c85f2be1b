package devices

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc"
	drav1 "k8s.io/kubelet/pkg/apis/dra/v1"
)

// callTimeout bounds one call of a driver.
const callTimeout = 45 * time.Second

// callPrepare notes that a pod uses a claim and has its drivers prepare it. The
// caller has its turn.
func (m *Manager) callPrepare(ctx context.Context, c *claim, pod string) error {
	if !c.uses(pod) {
		if err := m.change(c, func() { c.Pods = append(c.Pods, pod) }); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Drivers)) {
		p := c.Drivers[name]
		if p.Prepared {
			continue
		}
		driver, err := m.plugins.get(name)
		if err != nil {
			return err
		}
		if err := m.change(c, func() { p.Called = true }); err != nil {
			return err
		}
		devices, err := prepareWith(ctx, driver, name, c)
		if err != nil {
			return err
		}
		if err := m.change(c, func() { p.Prepared, p.Devices = true, devices }); err != nil {
			return err
		}
	}
	return nil
}

func prepareWith(ctx context.Context, driver drav1.DRAPluginClient, name string, c *claim) ([]prepared, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := driver.NodePrepareResources(ctx, &drav1.NodePrepareResourcesRequest{Claims: []*drav1.Claim{c.message()}}, grpc.WaitForReady(true))
	if err != nil {
		return nil, fmt.Errorf("NodePrepareResources of %s: %w", name, err)
	}
	result, ok := answer.GetClaims()[string(c.UID)]
	switch {
	case !ok:
		return nil, fmt.Errorf("NodePrepareResources of %s left out the claim", name)
	case result.GetError() != "":
		return nil, fmt.Errorf("NodePrepareResources of %s failed: %s", name, result.GetError())
	}
	var devices []prepared
	for _, d := range result.GetDevices() {
		devices = append(devices, prepared{Requests: d.GetRequestNames(), CDI: d.GetCdiDeviceIds(), Pool: d.GetPoolName(), Device: d.GetDeviceName()})
	}
	return devices, nil
}

// callUnprepare has a claim's drivers take back what they may have done. The caller
// has the claim's turn.
func (m *Manager) callUnprepare(ctx context.Context, c *claim) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(c.Drivers)) {
		if c.Drivers[name].Called {
			errs = append(errs, m.unprepareWith(ctx, name, c))
		}
	}
	return errors.Join(errs...)
}

func (m *Manager) unprepareWith(ctx context.Context, name string, c *claim) error {
	driver, err := m.plugins.get(name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := driver.NodeUnprepareResources(ctx, &drav1.NodeUnprepareResourcesRequest{Claims: []*drav1.Claim{c.message()}}, grpc.WaitForReady(true))
	if err != nil {
		return fmt.Errorf("NodeUnprepareResources of %s: %w", name, err)
	}
	result, ok := answer.GetClaims()[string(c.UID)]
	switch {
	case !ok:
		return fmt.Errorf("NodeUnprepareResources of %s left out the claim", name)
	case result.GetError() != "":
		return fmt.Errorf("NodeUnprepareResources of %s failed: %s", name, result.GetError())
	}
	return nil
}

func (c *claim) message() *drav1.Claim {
	return &drav1.Claim{Namespace: c.Namespace, Name: c.Name, Uid: string(c.UID)}
}
