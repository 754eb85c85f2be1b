package network

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
)

// freeLeases removes host-local's leases of pods that are not valid: a crash
// between a plugin's lease and the agent's record of it would leak them. It
// must run before pods are attached.
func (n *Network) freeLeases(valid []types.GCAttachment) error {
	keep := make(map[string]bool, len(valid))
	for _, a := range valid {
		keep[a.ContainerID] = true
	}
	leases, err := filepath.Glob(filepath.Join(n.cfg.StateDir, "ipam", "*", "*"))
	if err != nil {
		return fmt.Errorf("list the leases: %w", err)
	}
	var errs []error
	for _, path := range leases {
		if _, err := netip.ParseAddr(strings.ReplaceAll(filepath.Base(path), "_", ":")); err != nil {
			continue // the lock, or the last reserved address
		}
		owner, err := leaseOwner(path)
		if err == nil && keep[owner] {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("free a lease: %w", err))
		}
	}
	return errors.Join(errs...)
}

// leaseOwner returns the first line of a lease: the container's ID.
func leaseOwner(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read a lease: %w", err)
	}
	defer f.Close()
	line, err := bufio.NewReader(f).ReadString('\n')
	if line == "" && err != nil {
		return "", fmt.Errorf("read a lease: %w", err)
	}
	return strings.TrimSpace(line), nil
}
