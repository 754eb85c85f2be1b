package localcluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"navarch.dev/navarch/internal/atomicfile"
)

// hostSettings are kernel settings of the host that clusters change: they
// forward packets, and show bridged ones to netfilter. All clusters of a machine
// share them, so the first one notes how they were and the last one puts them
// back. The note is below /run: a reboot undoes the changes and forgets it.
type hostSettings struct {
	note  string
	paths []string
}

func newHostSettings() hostSettings {
	return hostSettings{note: filepath.Join(runtimeDir, "settings.json"), paths: []string{
		"/proc/sys/net/ipv4/ip_forward",
		"/proc/sys/net/ipv6/conf/all/forwarding",
		"/proc/sys/net/bridge/bridge-nf-call-iptables",
		"/proc/sys/net/bridge/bridge-nf-call-ip6tables",
	}}
}

// remember notes how the settings are, unless another cluster has.
func (h hostSettings) remember() error {
	if _, err := os.Stat(h.note); err == nil {
		return nil
	}
	values := make(map[string]string)
	for _, path := range h.paths {
		value, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // not in this kernel
		}
		if err != nil {
			return fmt.Errorf("read a kernel setting: %w", err)
		}
		values[path] = strings.TrimSpace(string(value))
	}
	data, err := json.Marshal(values)
	if err != nil {
		return fmt.Errorf("note the kernel's settings: %w", err)
	}
	if err := atomicfile.Write(h.note, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("note the kernel's settings: %w", err)
	}
	return nil
}

// restore puts the settings back as they were noted.
func (h hostSettings) restore() error {
	data, err := os.ReadFile(h.note)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read how the kernel's settings were: %w", err)
	}
	var noted map[string]string
	if err := json.Unmarshal(data, &noted); err != nil {
		return fmt.Errorf("read how the kernel's settings were from %s: %w", h.note, err)
	}
	var errs []error
	for _, path := range h.paths {
		value, ok := noted[path]
		if !ok {
			continue
		}
		have, err := os.ReadFile(path)
		if err != nil || strings.TrimSpace(string(have)) == value {
			continue
		}
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
			errs = append(errs, fmt.Errorf("restore a kernel setting: %w", err))
		}
	}
	if err := os.Remove(h.note); err != nil {
		errs = append(errs, fmt.Errorf("forget how the kernel's settings were: %w", err))
	}
	return errors.Join(errs...)
}

// rememberHost notes the host's settings before a cluster that holds a slot
// changes them.
func rememberHost() error { return withSlotLock(newHostSettings().remember) }

// restoreHost puts the host's settings back if no cluster is left that needs
// them.
func restoreHost() error {
	return withSlotLock(func() error {
		entries, err := os.ReadDir(slotDir())
		if err != nil {
			return fmt.Errorf("look for other clusters: %w", err)
		}
		for _, e := range entries {
			slot, err := strconv.Atoi(e.Name())
			if err != nil {
				continue
			}
			if owner, err := slotOwner(slot); err != nil || owner != "" {
				return err
			}
		}
		return newHostSettings().restore()
	})
}

func withSlotLock(f func() error) error {
	if err := os.MkdirAll(slotDir(), 0o755); err != nil {
		return fmt.Errorf("create %s: %w", slotDir(), err)
	}
	unlock, err := lockFile(filepath.Join(slotDir(), ".lock"), unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer unlock()
	return f()
}
