package localcluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Down stops the cluster of a data folder and removes what the host holds of
// it: processes, pods, mounts, network namespaces, links, tables and control
// groups. With purge the data goes too. What is gone already is no error.
func Down(ctx context.Context, log *slog.Logger, dataDir string, purge bool) error {
	if err := RequireRoot(); err != nil {
		return err
	}
	l, err := NewLayout(dataDir)
	if err != nil {
		return err
	}
	state, err := l.readState()
	if errors.Is(err, fs.ErrNotExist) {
		if purge {
			return purgeData(l)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if err := l.checkVersion(); err != nil {
		return err
	}
	if err := stopSupervisor(ctx, l); err != nil {
		return err
	}
	unlock, err := lockFile(l.Lock(), unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return fmt.Errorf("take the cluster over: %w", err)
	}
	defer unlock()
	if err := stopStrays(ctx, l); err != nil {
		return err
	}
	if err := removeFromHost(ctx, log, l, state); err != nil {
		return err
	}
	if purge {
		return purgeData(l)
	}
	return nil
}

func removeFromHost(ctx context.Context, log *slog.Logger, l Layout, state *State) error {
	address, err := hostAddress()
	if err != nil {
		return err
	}
	c := &Cluster{layout: l, state: state, nodes: state.nodes(address), log: log, options: Options{BinDir: BinDir()}}
	var errs []error
	for _, n := range c.nodes {
		if err := runOnce(ctx, log, l, c.cleanup(n)); err != nil && !errors.Is(err, errEnded) {
			errs = append(errs, fmt.Errorf("clean up %s: %w (see %s)", n.name, err, l.Log("cleanup-"+n.name)))
		}
	}
	errs = append(errs, state.tearDownNetwork(), releaseSlot(l.Dir, state.Slot), restoreHost())
	return errors.Join(errs...)
}

// cleanup removes one node's pods, links, tables and control groups, from
// within its network namespace as long as there is one.
func (c *Cluster) cleanup(n node) processSpec {
	agent := c.agent(n)
	spec := processSpec{name: "cleanup-" + n.name, args: slices.Concat([]string{cleanupCommand}, agent.args[1:])}
	if n.namespace != "" && isNamespace(n.namespace) {
		spec.namespace = n.namespace
	}
	return spec
}

// cleanupCommand is the hidden subcommand that cleans a node up; it takes the
// agent's flags.
const cleanupCommand = "node-cleanup"

// purgeData removes the data folder, but only one that a cluster was in.
func purgeData(l Layout) error {
	if _, err := os.Stat(l.path("version")); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.RemoveAll(l.Dir); err != nil {
		return fmt.Errorf("remove the data folder: %w", err)
	}
	return nil
}
