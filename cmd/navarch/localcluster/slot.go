package localcluster

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A slot is claimed by a file in /run/navarch/slots that is named for the slot
// and holds the data folder. It is given back by `navarch down`.

func slotDir() string { return filepath.Join(runtimeDir, "slots") }

func slotFile(slot int) string { return filepath.Join(slotDir(), strconv.Itoa(slot)) }

// claimSlot claims the wanted slot for a data folder, or the first free one if
// wanted is negative. A claim whose data folder has gone is free, unless its
// cluster's bridge is still there: somebody has removed the folder alone.
func claimSlot(dataDir string, wanted int) (int, error) {
	unlock, err := lockSlots()
	if err != nil {
		return 0, err
	}
	defer unlock()
	if wanted >= 0 {
		owner, err := slotOwner(wanted)
		if err != nil {
			return 0, err
		}
		if owner != "" && owner != dataDir {
			return 0, fmt.Errorf("the address ranges of %s are in use by the cluster in %s: stop that one first", dataDir, owner)
		}
		return wanted, os.WriteFile(slotFile(wanted), []byte(dataDir+"\n"), 0o644)
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return 0, fmt.Errorf("look at the machine's addresses: %w", err)
	}
	for slot := range maxSlots {
		owner, err := slotOwner(slot)
		if err != nil {
			return 0, err
		}
		if owner == "" && !taken(slot, addresses) || owner == dataDir {
			return slot, os.WriteFile(slotFile(slot), []byte(dataDir+"\n"), 0o644)
		}
	}
	return 0, fmt.Errorf("%d clusters are running on this machine, which is the most: stop one with 'navarch down --data-dir DIR'", maxSlots)
}

// taken says whether one of the machine's addresses is in a slot's range of nodes.
func taken(slot int, addresses []net.Addr) bool {
	nodes := (&State{Slot: slot}).NodeCIDR()
	return slices.ContainsFunc(addresses, func(a net.Addr) bool {
		address, err := netip.ParsePrefix(a.String())
		return err == nil && nodes.Contains(address.Addr().Unmap())
	})
}

func slotLock() string { return filepath.Join(slotDir(), ".lock") }

// lockSlots makes the folder of the claims and locks it.
func lockSlots() (unlock func(), err error) {
	for {
		if err := os.MkdirAll(slotDir(), 0o755); err != nil {
			return nil, fmt.Errorf("create %s: %w", slotDir(), err)
		}
		unlock, err := lockFile(slotLock(), unix.LOCK_EX)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errReplaced) {
			continue // the last cluster on the machine has just gone, with the folder
		}
		return unlock, err
	}
}

// slotOwner returns the data folder that holds a slot, "" if it is free.
func slotOwner(slot int) (string, error) {
	data, err := os.ReadFile(slotFile(slot))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read a slot's claim: %w", err)
	}
	owner := strings.TrimSpace(string(data))
	if _, err := os.Stat(filepath.Join(owner, "cluster.json")); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return owner, nil
}

// releaseSlot gives a slot back if the data folder holds it.
func releaseSlot(dataDir string, slot int) error {
	unlock, err := lockSlots()
	if err != nil {
		return err
	}
	defer unlock()
	owner, err := slotOwner(slot)
	if err != nil {
		return err
	}
	if owner == dataDir {
		if err := os.Remove(slotFile(slot)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("give the address slot back: %w", err)
		}
	}
	return removeUnclaimed()
}

// removeUnclaimed removes the claims of clusters whose data folder has gone,
// and the runtime folder when no cluster is left on the machine. The caller
// holds the lock.
func removeUnclaimed() error {
	claimed := false
	for slot := range maxSlots {
		owner, err := slotOwner(slot)
		if err != nil {
			return err
		}
		if owner != "" {
			claimed = true
			continue
		}
		if err := os.Remove(slotFile(slot)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the claim of a cluster that has gone: %w", err)
		}
	}
	if claimed {
		return nil
	}
	if err := os.RemoveAll(slotDir()); err != nil {
		return fmt.Errorf("remove %s: %w", slotDir(), err)
	}
	if err := os.Remove(runtimeDir); err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", runtimeDir, err)
	}
	return nil
}

var (
	// errLocked says that another process holds a lock.
	errLocked = errors.New("locked by another process")
	// errReplaced says that a lock's file was removed while it was waited for.
	errReplaced = errors.New("the lock was removed")
)

// lockFile takes a lock on a file and returns what gives it back. how is
// unix.LOCK_EX, with unix.LOCK_NB to fail with errLocked instead of waiting.
func lockFile(path string, how int) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), how); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", path, errLocked)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if !isAt(f, path) {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, errReplaced)
	}
	return func() { _ = f.Close() }, nil
}

// isAt says whether an open file is the one at a path.
func isAt(f *os.File, path string) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(open, there)
}
