package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"navarch.dev/navarch/agent/image"
	"navarch.dev/navarch/agent/network"
	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/volume"
	"navarch.dev/navarch/internal/telemetry"
)

// Purge ends the node's pods and removes what the host holds of the node:
// shims, mounts, network namespaces, links, routes, nftables tables, cgroups
// and all state but images. The agent must not run. What is not there is
// fine. It must be called in the node's network namespace.
func Purge(ctx context.Context, cfg Config, tel telemetry.Set) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	if _, err := os.Stat(cfg.nodeDir()); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	nodeIP, err := cfg.address()
	if err != nil {
		nodeIP = netip.IPv4Unspecified() // a node without a link has no routes
	}
	rt, err := runtime.New(cfg.runtimeConfig(), tel)
	if err != nil {
		return fmt.Errorf("open the runtime: %w", err)
	}
	// What a pod uses goes before its record does, so that a second Purge finds
	// what the first one could not remove.
	errs := []error{rt.Recover(ctx), stopAll(ctx, rt)}
	errs = append(errs,
		network.Purge(ctx, cfg.networkConfig(nodeIP), tel.Log),
		purgeMounts(ctx, cfg, tel),
		volume.Purge(cfg.dir("pods")), volume.Purge(cfg.volumeConfig(nil).MemoryDir),
		os.RemoveAll(cfg.dir("logs")),
	)
	if err := errors.Join(errs...); err != nil {
		return errors.Join(err, rt.Close())
	}
	cgroup := cfg.cgroup()
	return errors.Join(removeAll(ctx, rt), rt.Close(), unmountRun(cfg.runDir()), os.RemoveAll(cfg.dir("files")),
		runtime.RemoveCgroups(cgroup),
		// The cluster's and the one of all clusters, if this was the last node.
		runtime.RemoveEmptyCgroups(filepath.Dir(cgroup), filepath.Dir(filepath.Dir(cgroup))))
}

// stopAll ends every pod's containers and sandbox.
func stopAll(ctx context.Context, rt *runtime.Runc) error {
	sandboxes, err := rt.ListSandboxes(ctx)
	errs := []error{err}
	for _, s := range sandboxes {
		errs = append(errs, rt.StopSandbox(ctx, s.Spec.UID))
	}
	return errors.Join(errs...)
}

// removeAll removes every sandbox with its containers and cgroups.
func removeAll(ctx context.Context, rt *runtime.Runc) error {
	sandboxes, err := rt.ListSandboxes(ctx)
	errs := []error{err}
	for _, s := range sandboxes {
		errs = append(errs, rt.RemoveSandbox(ctx, s.Spec.UID))
	}
	return errors.Join(errs...)
}

// purgeMounts unmounts every root filesystem; the images stay.
func purgeMounts(ctx context.Context, cfg Config, tel telemetry.Set) error {
	store, err := image.Open(cfg.imageConfig(), tel)
	if err != nil {
		return fmt.Errorf("open the image store: %w", err)
	}
	ids, err := store.Mounts()
	errs := []error{err}
	for _, id := range ids {
		errs = append(errs, store.Unmount(ctx, id))
	}
	return errors.Join(append(errs, store.Close())...)
}
