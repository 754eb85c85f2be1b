package devices

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/atomicfile"
)

// claim is what is known of a claim that pods of the node use. It is kept in a
// file before anything is prepared, so that it can be unprepared whatever happens.
type claim struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       types.UID `json:"uid"`
	// Pods are the UIDs of those that use it.
	Pods []string `json:"pods"`
	// Drivers are those of its devices.
	Drivers map[string]*preparation `json:"drivers"`

	turn sync.Mutex // held while the claim is prepared or unprepared
	// gone says that it has been unprepared: whoever waited for its turn looks anew.
	gone bool
}

// preparation is how far a driver has come with a claim.
type preparation struct {
	// Called says that the driver was asked to prepare the claim, whatever came of
	// it.
	Called   bool       `json:"called"`
	Prepared bool       `json:"prepared"`
	Devices  []prepared `json:"devices,omitempty"`
}

// prepared is a device that a driver has prepared.
type prepared struct {
	// Requests are those that it is for; none is all.
	Requests []string `json:"requests,omitempty"`
	// CDI are the names by which the runtime knows it.
	CDI []string `json:"cdi,omitempty"`
	// Pool and Device are what the driver calls it.
	Pool   string `json:"pool,omitempty"`
	Device string `json:"device,omitempty"`
}

// load reads what an earlier agent kept. A file that cannot be read is an error:
// something may be prepared that would never be unprepared.
func load(dir string) (map[types.UID]*claim, error) {
	claims := map[types.UID]*claim{}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return claims, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the prepared claims: %w", err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read a prepared claim: %w", err)
		}
		c := &claim{}
		if err := json.Unmarshal(data, c); err != nil {
			return nil, fmt.Errorf("read the prepared claim in %s: %w", path, err)
		}
		claims[c.UID] = c
	}
	return claims, nil
}

func (m *Manager) path(uid types.UID) string { return filepath.Join(m.dir, string(uid)+".json") }

// change changes what is known of a claim and keeps it. It is called by whose turn
// it is.
func (m *Manager) change(c *claim, change func()) error {
	m.mu.Lock()
	change()
	data, err := json.Marshal(c)
	m.mu.Unlock()
	if err != nil {
		return fmt.Errorf("keep claim %s/%s: %w", c.Namespace, c.Name, err)
	}
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return fmt.Errorf("keep claim %s/%s: %w", c.Namespace, c.Name, err)
	}
	return atomicfile.Write(m.path(c.UID), data, 0o600)
}

// discard keeps a claim no longer.
func (m *Manager) discard(c *claim) error {
	if err := os.Remove(m.path(c.UID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget claim %s/%s: %w", c.Namespace, c.Name, err)
	}
	return nil
}

func (c *claim) uses(pod string) bool { return slices.Contains(c.Pods, pod) }
