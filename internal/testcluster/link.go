package testcluster

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// CutOff takes a node's link down: nobody reaches the node, and it reaches
// nobody, until Reconnect.
func (c *Cluster) CutOff(tb testing.TB, node string) {
	tb.Helper()
	c.setLink(tb, node, "down")
}

// Reconnect takes the link of a node up again.
func (c *Cluster) Reconnect(tb testing.TB, node string) {
	tb.Helper()
	c.setLink(tb, node, "up")
}

func (c *Cluster) setLink(tb testing.TB, node, state string) {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join(c.Dir, "cluster.json"))
	if err != nil {
		tb.Fatalf("read the cluster's description: %v", err)
	}
	var cluster struct{ ID string }
	if err := json.Unmarshal(data, &cluster); err != nil {
		tb.Fatalf("read the cluster's description: %v", err)
	}
	link := "nv" + cluster.ID + "p" + strings.TrimPrefix(node, "node-") // its end on the cluster's bridge
	if out, err := exec.CommandContext(tb.Context(), "ip", "link", "set", link, state).CombinedOutput(); err != nil {
		tb.Fatalf("set %s %s: %v: %s", link, state, err, out)
	}
}
